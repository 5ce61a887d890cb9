"""Effect of the neuron on the output: from the weights, and measured on its own examples."""

import math
from collections.abc import Sequence

import numpy as np
import streamlit as st

from analysis.formatting import number, share
from analysis.token_effects import (
    Effects,
    TokenEffect,
    correlation,
    effect_bars,
    effects_of_tokens,
    find_tokens,
    most_promoted,
    most_suppressed,
    percentile_rank,
    tokens_in_bar,
)
from dashboard.neuron.ablation import REPLACEMENT, UNDERLINE, Ablation, ablation
from dashboard.neuron.components.histogram_view import Panel, histogram_view
from dashboard.neuron.components.quantity_table import quantity_table
from dashboard.neuron.effects_chart import effect_map
from dashboard.neuron.service import NeuronFacts
from dashboard.shared.catalog import ModelError
from dashboard.shared.components.bar_list import Column, Row, bar_list
from dashboard.shared.error_message import show_error
from dashboard.shared.messages import plain
from dashboard.shared.place import Place
from dashboard.shared.provenance import provenance_line
from dashboard.shared.running import logit_effects as effects

N_DIRECT, N_MEASURED = 12, 8
"""Number of tokens in a list of the most promoted or suppressed."""
_BAR = "output_bar"
"""Session state: the neuron whose histogram was clicked, and the value of the bar."""
TOP_SHARE = 0.01
"""Share of the vocabulary that counts as the most promoted."""

_PARTS = {"direct": "From the weights", "measured": "By ablation on its examples"}
_FOLDS = {False: "per unit of hook_post", True: "per standard deviation of hook_mid"}
_REPLACEMENTS = {
    "zero": "replaced by zero",
    "mean": "replaced by its mean",
    "held": "replaced by zero, final norm's divisor held",
}


def draw(place: Place, facts: NeuronFacts) -> None:
    """Draw the direct effect or the measured effect."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        part = st.segmented_control(
            "Effect on the output", list(_PARTS), required=True, default="direct",
            format_func=_PARTS.__getitem__, key="output_part", persist_state="session",
            label_visibility="collapsed",
        )  # fmt: skip
        fold = False
        if part == "measured":
            st.selectbox(
                "The neuron is", list(_REPLACEMENTS), format_func=_REPLACEMENTS.__getitem__, key=REPLACEMENT,
                persist_state="session", label_visibility="collapsed", width=190,
            )  # fmt: skip
        elif "hook_mid" in place.cache.hooks:
            fold = st.selectbox(
                "Unit of the effect", list(_FOLDS), format_func=_FOLDS.__getitem__, key="output_fold",
                persist_state="session", label_visibility="collapsed", width=290,
            )  # fmt: skip
    try:
        if part == "measured":
            _measured(place)
        else:
            _direct(place, fold)
        st.caption(plain(provenance_line(place)))
    except ModelError as error:
        show_error("The effect on the output cannot be computed", error)


def _direct(place: Place, fold: bool) -> None:
    vocabulary = place.cache.vocabulary
    direct = effects.of_neuron(place, fold=fold)[: len(vocabulary)]
    unit = "standard deviation of the layer's hook_mid" if fold else "unit of hook_post"
    last = place.layer == place.cache.manifest.model.n_layers - 1
    path = "" if last else " This is the direct path alone, without the effect through later layers."
    st.caption(f"Change of each logit per {unit}, before the division by the final norm's divisor.{path}")
    bar_list(
        [
            Column("promotes", _rows(most_promoted(direct, N_DIRECT, vocabulary))),
            Column("suppresses", _rows(most_suppressed(direct, N_DIRECT, vocabulary))),
        ],
        key="output_direct",
    )
    text = st.text_input(
        "Find a token", key="output_find", placeholder="Find a token: its effect and rank",
        persist_state="session", live="250ms", label_visibility="collapsed",
    )  # fmt: skip
    tokens = effects_of_tokens(direct, find_tokens(vocabulary, text), vocabulary)
    if tokens:
        rows = [
            Row(t.text, t.effect, number(t.effect), f"rank {t.rank:,} of {len(direct):,}") for t in tokens
        ]
        bar_list([Column("", rows)], key="output_found")
    elif text:
        st.caption("No token of the vocabulary has this text.")
    _distribution(place, direct, tokens[:1])


def _distribution(place: Place, direct: Effects, marked: Sequence[TokenEffect]) -> None:
    """Draw the histogram over the vocabulary; a click on a bar lists its tokens."""
    vocabulary, bars = place.cache.vocabulary, effect_bars(direct)
    this_neuron = (place.model.name, place.layer, place.neuron)

    def show(_: str, value: float) -> None:
        st.session_state[_BAR] = (this_neuron, value)

    histogram_view(
        [
            Panel(
                "effect", f"effect on the {len(direct):,} tokens of the vocabulary", bars,
                [(t.text, t.effect) for t in marked], [], float(direct.mean()), float(direct.std()),
            )
        ],
        "effect", key="output_histogram", on_bar=show, click="its tokens",
    )  # fmt: skip
    neuron, value = st.session_state.get(_BAR, (None, 0.0))
    if neuron == this_neuron:
        tokens = tokens_in_bar(direct, bars, value)
        shown = effects_of_tokens(direct, tokens[:N_DIRECT], vocabulary)
        title = f"tokens of the bar at {number(value)}: the strongest {len(shown)} of {len(tokens):,}"
        bar_list([Column(title, _rows(shown))], key="output_bar_tokens")


def _measured(place: Place) -> None:
    vocabulary = place.cache.vocabulary
    ablated = ablation(place, "top")
    direct = effects.of_neuron(place)[: len(vocabulary)]
    measured = ablated.at_peaks[: len(vocabulary)]
    n, n_cut = len(ablated.changes), ablated.n_cut
    held = ", with the final norm's divisor held" if st.session_state[REPLACEMENT] == "held" else ""
    cut = f" In {n_cut} of them the beginning of the context is not in the cache." if n_cut else ""
    st.caption(
        f"The {n} strongest examples, run with the neuron and without it{held}: change of the logits at the "
        f"peaks, mean over the examples.{cut}"
    )
    st.toggle(
        "Underline the examples by what the neuron adds to the next token's log-probability",
        key=UNDERLINE,
        persist_state="session",
    )
    _next_tokens(direct, ablated)
    most, least = (
        most_promoted(measured, N_MEASURED, vocabulary),
        most_suppressed(measured, N_MEASURED, vocabulary),
    )
    bar_list([Column("raises", _rows(most)), Column("lowers", _rows(least))], key="output_measured")
    r = correlation(direct, measured)
    st.caption(
        f"Direct effect against measured change, for every token of the vocabulary: correlation {number(r)}."
        if math.isfinite(r)
        else "Ablating the neuron changes nothing here."
    )
    st.plotly_chart(
        effect_map(direct, measured, _named(direct, place) + most + least),
        key="output_map",
        config={"displayModeBar": False},
        alt=f"Direct effect against measured change over the vocabulary, correlation {number(r)}",
    )


def _next_tokens(direct: Effects, ablated: Ablation) -> None:
    """Show how highly the neuron ranks the tokens that follow the peaks."""
    next_tokens = [token for token in ablated.following if token is not None]
    if not next_tokens:
        return
    by_weights = np.array([percentile_rank(direct, token) for token in next_tokens])
    measured = np.array([p for p in ablated.percentiles if math.isfinite(p)])
    columns = ["from the weights", "measured", "by chance"]
    most = [share(float(np.mean(p >= 1 - TOP_SHARE))) for p in (by_weights, measured)]
    mean = [share(float(p.mean())) for p in (by_weights, measured)]
    rows = [
        (f"among the {TOP_SHARE:.0%} most promoted", [*most, f"{TOP_SHARE:.0%}"]),
        ("mean percentile", [*mean, "50%"]),
    ]
    st.caption(f"The next token after the peak, in {len(next_tokens)} examples:")
    st.html(quantity_table(columns, rows))


def _named(direct: Effects, place: Place) -> list[TokenEffect]:
    """Return the tokens to name in the map: the most promoted and the most suppressed."""
    vocabulary = place.cache.vocabulary
    return most_promoted(direct, N_MEASURED, vocabulary) + most_suppressed(direct, N_MEASURED, vocabulary)


def _rows(tokens: list[TokenEffect]) -> list[Row]:
    return [Row(t.text, t.effect, number(t.effect)) for t in tokens]
