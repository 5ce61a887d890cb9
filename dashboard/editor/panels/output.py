"""The model's next token and a continuation, with the neuron as it is and held at a value."""

import numpy as np
import pandas as pd
import streamlit as st

from analysis.formatting import number, visible
from dashboard.editor.current_text import CurrentText
from dashboard.editor.next_tokens import N_SAMPLED, NextTokens, continuations, next_tokens
from dashboard.shared.catalog import ModelError
from dashboard.shared.error_message import show_error
from dashboard.shared.messages import plain

_N_LIKELY, _N_CHANGED = 8, 6
_HOLD = {"zero": "held at zero", "mean": "held at its mean", "value": "held at a value"}


def draw(current: CurrentText) -> None:
    """Draw the next token after the chosen one, and a continuation of the text."""
    if current.chosen is None:
        st.caption("Type a text to see which token the model predicts after it.")
        return
    value = held_value(current)
    try:
        predictions = next_tokens(current, value)
        st.caption(
            f"Next token after {plain(visible(current.chosen_text))}, token {current.chosen_token + 1} of "
            f"the text, where hook_post is {number(predictions.activation, 4)}. The caret chooses the token."
        )
        next_token_table(current, predictions)
        continuation(current, value)
    except ModelError as error:
        show_error("The output cannot be computed", error)


def held_value(current: CurrentText) -> float:
    """Draw the choice of the value of `hook_post` at which the neuron is held, and return it."""
    moments = current.place.cache.neuron(current.place.layer, current.place.neuron).moments("hook_post")
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        hold = st.selectbox(
            "The neuron is", list(_HOLD), format_func=_HOLD.__getitem__, key="editor_hold",
            persist_state="session", label_visibility="collapsed", width=190,
        )  # fmt: skip
        value = st.number_input(
            "Value of hook_post", value=float(f"{moments.max:.4g}"), format="%.4g", key="editor_forced",
            persist_state="session", disabled=hold != "value", label_visibility="collapsed", width=140,
            min_value=-1e6, max_value=1e6,
        )  # fmt: skip
    return {"zero": 0.0, "mean": float(moments.mean), "value": float(value)}[hold]


def next_token_table(current: CurrentText, predictions: NextTokens) -> None:
    """Draw the most probable tokens, then those whose probability changes most."""
    vocabulary = current.place.cache.vocabulary
    p, p_held = predictions.p[: len(vocabulary)], predictions.p_held[: len(vocabulary)]
    likely = np.argsort(-p, kind="stable")[:_N_LIKELY].tolist()
    by_change = np.argsort(-np.abs(p_held - p), kind="stable").tolist()
    tokens = [*likely, *[t for t in by_change if t not in set(likely)][:_N_CHANGED]]
    frame = pd.DataFrame(
        {
            "token": [visible(vocabulary.text(t)) for t in tokens],
            "p": 100 * p[tokens],
            "held": 100 * p_held[tokens],
            "change": predictions.change[tokens],
        }
    )
    if predictions.direct is not None:
        frame["direct"] = predictions.direct[tokens]
    st.dataframe(
        frame,
        hide_index=True,
        key="next_tokens",
        height="content",
        column_config={
            "token": st.column_config.TextColumn("next token", width=100),
            "p": st.column_config.NumberColumn("as it is", format="%.2f%%", width=75),
            "held": st.column_config.NumberColumn("held", format="%.2f%%", width=75),
            "change": st.column_config.NumberColumn(
                "logit", format="%+.3f", width=70,
                help="Measured change of the logit when the neuron is held, less the mean over all tokens.",
            ),
            "direct": st.column_config.NumberColumn(
                "from the weights", format="%+.3f", width=110,
                help="The same change computed from the weights: the direct logit effect times the change of "
                "the activation, divided by the final norm's divisor.",
            ),
        },
    )  # fmt: skip


def continuation(current: CurrentText, value: float) -> None:
    """Draw the button that samples a continuation, and the last result."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        is_clicked = st.button("Continue the text", icon=":material/play_arrow:", key="continue_text")
        temperature = st.slider(
            "Temperature", 0.1, 2.0, 0.8, 0.1, key="editor_temperature", persist_state="session", width=200
        )
    results, key = current.workspace.results, (*current.key, value)
    if is_clicked:
        seed = results["continuation"][1][0] + 1 if "continuation" in results else 0
        with st.spinner("Sampling…"):
            texts = continuations(current, value, seed=seed, temperature=temperature)
        results["continuation"] = (key, (seed, *texts))
    if "continuation" not in results:
        st.caption(
            f"Samples {N_SAMPLED} tokens twice, with the same random numbers: the neuron as it is, and held."
        )
        return
    key_of_result, (_, text, text_held) = results["continuation"]
    if key_of_result != key:
        st.caption("These continue an earlier text, or were held at another value. Press the button again.")
    st.caption("as it is")
    st.code(text, language=None, wrap_lines=True)
    st.caption("held" if text != text_held else "held: the same")
    st.code(text_held, language=None, wrap_lines=True)
