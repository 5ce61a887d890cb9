"""Provenance of the figures, and a check that the model still gives the stored values."""

import pandas as pd
import streamlit as st

from analysis.formatting import number, share
from dashboard.neuron.recompute import TOLERANCE, Recomputed, recomputed
from dashboard.neuron.service import NeuronFacts
from dashboard.shared.catalog import ModelError
from dashboard.shared.error_message import show_error
from dashboard.shared.messages import plain
from dashboard.shared.place import Place
from dashboard.shared.provenance import provenance_line

_RECOMPUTED = "recomputed_for"
"""Session state: the address whose examples are to be run again."""


def draw(place: Place, facts: NeuronFacts) -> None:
    """Draw the provenance line, its details, and the button that runs the examples again."""
    moments = facts.moments[place.hook]
    manifest = place.cache.manifest
    corpus = manifest.corpus
    read = "all of" if corpus.sample == 1 else f"a sample of {share(corpus.sample)} (seed {corpus.seed}) of"
    checked = "" if place.model.weights else " There is no checkpoint beside the cache to check it against."
    st.code(provenance_line(place), language=None, wrap_lines=True)
    st.caption(
        f"{moments.count:,} tokens counted of {corpus.n_documents:,} documents: {read} the text, in "
        f"{plain(place.cache.contexts_read)}. Activation {plain(manifest.model.act_fn)}; at most "
        f"one example from each document.{checked}"
    )
    if st.button("Recompute these examples", key="recompute", icon=":material/replay:"):
        st.session_state[_RECOMPUTED] = place.address
    if st.session_state.get(_RECOMPUTED) != place.address:
        return
    try:
        examples = recomputed(place)
    except ModelError as error:
        show_error("The model cannot be run", error)
        return
    if examples:
        _compare(examples)
    else:
        st.info("There is no example to run.")


def _compare(examples: list[Recomputed]) -> None:
    whole = [e for e in examples if e.whole]
    n_agree = sum(e.agrees for e in whole)
    if whole:
        largest = max(abs(e.difference) for e in whole)
        verdict = (
            f"{n_agree} of {len(whole)} examples with all the text before them agree to within {TOLERANCE:g} "
            f"of the stored value; the largest difference is {largest:.2g}."
        )
        (st.info if n_agree == len(whole) else st.error)(verdict)
    if len(whole) < len(examples):
        largest = max(abs(e.difference) for e in examples if not e.whole)
        st.caption(
            f"For {len(examples) - len(whole)} examples the cache does not keep the text before the window, "
            f"which the model saw when the cache was built. This explains their difference, up to "
            f"{number(largest)}."
        )
    st.dataframe(
        pd.DataFrame(
            {
                "example": range(1, len(examples) + 1),
                "stored": [e.stored for e in examples],
                "recomputed": [e.again for e in examples],
                "difference": [e.difference for e in examples],
                "text before": ["whole" if e.whole else "cut" for e in examples],
            }
        ),
        key="recomputed_table",
        hide_index=True,
        height=250,
        row_height=28,
        column_config={
            "example": st.column_config.NumberColumn("example", width=60),
            "stored": st.column_config.NumberColumn("stored", format="%.5g"),
            "recomputed": st.column_config.NumberColumn("recomputed", format="%.5g"),
            "difference": st.column_config.NumberColumn("difference", format="%.2e"),
            "text before": st.column_config.TextColumn(
                "text before",
                help="whole: the model sees the same text before the peak as when the cache was built.",
            ),
        },
        alt="Stored and recomputed activation of each example",
    )
