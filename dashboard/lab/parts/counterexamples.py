"""Counterexamples of both kinds: the neuron fires and the text does not fit, and the reverse."""

from urllib.parse import urlencode

import streamlit as st

from analysis.formatting import share
from dashboard.lab.counterexamples import SILENT, find_counterexamples
from dashboard.lab.sample_form import sample_or_form
from dashboard.shared.components.token_view import token_view
from dashboard.shared.page_paths import EDITOR
from dashboard.shared.place import Place


def draw(place: Place, hypothesis: str) -> None:
    """Draw both kinds beside each other; each example opens in the editor."""
    sample = sample_or_form(place)
    if sample is None:
        return
    if not hypothesis:
        st.info("Write a hypothesis above to see the strongest evidence against it.")
        return
    counterexamples = find_counterexamples(place, hypothesis, sample)
    n_fit, n_silent = counterexamples.n_fit, counterexamples.n_silent
    silent = f"{n_silent:,} of the {n_fit:,} tokens that fit" + (
        f" ({share(n_silent / n_fit)})" if n_fit else ""
    )
    kinds = (
        ("It fires, and the text does not fit", "the strongest token of each context",
         counterexamples.misfits, "lab_misfits"),
        ("The text fits, and the neuron is silent", f"{silent}; examples drawn at random",
         counterexamples.silent, "lab_silent"),
    )  # fmt: skip
    address = place.address.of_neuron.params()
    for column, (title, detail, data, key) in zip(st.columns(2, gap="medium"), kinds, strict=True):
        with column:
            st.markdown(f"**{title}**")
            st.caption(detail)
            if not data["examples"]:
                st.success("None in this sample.", icon=":material/check:")
            elif name := token_view(data, key=key, address=urlencode(address)):
                st.switch_page(EDITOR, query_params=address | {"example": name})
    st.caption(
        f"Silent: an activation of at most {SILENT:.0%} of the neuron's maximum in the corpus. The "
        "counterexample is the bold token."
    )
