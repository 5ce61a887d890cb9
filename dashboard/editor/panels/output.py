"""What the model says comes next, and what becomes of it when the neuron is held at a value."""

import numpy as np
import pandas as pd
import streamlit as st

from analysis.formatting import number, visible
from dashboard.editor.desk import Reading
from dashboard.editor.next_tokens import N_SAMPLED, NextTokens, continuations, next_tokens
from dashboard.shared.catalog import ModelError
from dashboard.shared.error_message import show_problem
from dashboard.shared.messages import plain

_LIKELY, _CHANGED = 8, 6
_HOLD = {"zero": "held at zero", "mean": "held at its mean", "value": "forced to a value"}


def draw(reading: Reading) -> None:
    """The next token after the chosen one, and a continuation of the text."""
    if reading.at is None:
        st.caption("Type a text to see what the model expects after it.")
        return
    value = held_at(reading)
    try:
        found = next_tokens(reading, value)
        st.caption(
            f"After {plain(visible(reading.word))}, token {reading.position + 1} of the text: hook_post "
            f"{number(found.activation, 4)}. The caret chooses the token."
        )
        table(reading, found)
        continuation(reading, value)
    except ModelError as error:
        show_problem("The model cannot be asked", error)


def held_at(reading: Reading) -> float:
    """The value that the person holds the neuron at, of `hook_post`."""
    moments = reading.place.cache.neuron(reading.place.layer, reading.place.neuron).moments("hook_post")
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        how = st.selectbox(
            "The neuron is", list(_HOLD), format_func=_HOLD.__getitem__, key="editor_hold",
            persist_state="session", label_visibility="collapsed", width=190,
        )  # fmt: skip
        forced = st.number_input(
            "Value of hook_post", value=float(f"{moments.max:.4g}"), format="%.4g", key="editor_forced",
            persist_state="session", disabled=how != "value", label_visibility="collapsed", width=140,
            min_value=-1e6, max_value=1e6,
        )  # fmt: skip
    return {"zero": 0.0, "mean": float(moments.mean), "value": float(forced)}[how]


def table(reading: Reading, found: NextTokens) -> None:
    """The likeliest tokens, then those whose probability changes most."""
    vocabulary = reading.place.cache.vocabulary
    p, held = found.p[: len(vocabulary)], found.p_held[: len(vocabulary)]
    likely = np.argsort(-p, kind="stable")[:_LIKELY]
    moved = [t for t in np.argsort(-np.abs(held - p), kind="stable") if t not in set(likely)][:_CHANGED]
    rows = [*likely.tolist(), *(int(t) for t in moved)]
    frame = pd.DataFrame(
        {
            "token": [visible(vocabulary.text(t)) for t in rows],
            "p": 100 * p[rows],
            "held": 100 * held[rows],
            "change": found.change[rows],
        }
    )
    if found.direct is not None:
        frame["direct"] = found.direct[rows]
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
                help="What holding the neuron adds to the logit, measured.",
            ),
            "direct": st.column_config.NumberColumn(
                "by the weights", format="%+.3f", width=100,
                help="The same read off the weights: the direct logit effect times the change of the "
                "activation, over the final norm's divisor.",
            ),
        },
    )  # fmt: skip


def continuation(reading: Reading, value: float) -> None:
    """Text that the model writes, as it is and with the neuron held."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        asked = st.button("Continue the text", icon=":material/play_arrow:", key="continue_text")
        temperature = st.slider(
            "Temperature", 0.1, 2.0, 0.8, 0.1, key="editor_temperature", persist_state="session", width=200
        )
    results = reading.desk.results
    if asked:
        seed = results["continuation"][1][0] + 1 if "continuation" in results else 0
        with st.spinner("Writing…"):
            texts = continuations(reading, value, seed=seed, temperature=temperature)
        results["continuation"] = ((*reading.version, value), (seed, *texts))
    if "continuation" not in results:
        st.caption(
            f"{N_SAMPLED} tokens, drawn twice with the same random numbers: as the model is, and held."
        )
        return
    version, (_, now, held) = results["continuation"]
    if version != (*reading.version, value):
        st.caption("These follow an earlier text or value: continue again for this one.")
    st.caption("as it is")
    st.code(now, language=None, wrap_lines=True)
    st.caption("held" if now != held else "held: the same")
    st.code(held, language=None, wrap_lines=True)
