"""Counterexamples both ways: strong firings that do not fit, and fits on which the neuron is silent."""

from urllib.parse import urlencode

import streamlit as st

from analysis.formatting import share
from dashboard.lab import service as lab
from dashboard.lab.sampling import sample_for
from dashboard.shared.components.token_view import token_view
from dashboard.shared.page_paths import EDITOR
from dashboard.shared.place import Place


def draw(place: Place, text: str) -> None:
    """Both kinds beside each other; each opens in the editor."""
    sample = sample_for(place)
    if sample is None:
        return
    if not text:
        st.info("Write a hypothesis above: this part then shows what speaks against it.")
        return
    found = lab.counterexamples(place, text, sample)
    silent = f"{found.n_silent:,} of the {found.n_fit:,} that fit"
    if found.n_fit:
        silent += f", {share(found.n_silent / found.n_fit)}"
    kinds = (
        ("It fires, and does not fit", "the strongest of each context", found.misfits, "lab_misfits"),
        ("It fits, and the neuron is silent", f"{silent}; drawn at random", found.silent, "lab_silent"),
    )
    address = place.address.with_(view=None, panel=None, range=None, beside=None).params()
    for column, (title, detail, data, key) in zip(st.columns(2, gap="medium"), kinds, strict=True):
        with column:
            st.markdown(f"**{title}**")
            st.caption(detail)
            if not data["examples"]:
                st.success("None in this sample.", icon=":material/check:")
            elif name := token_view(data, key=key, address=urlencode(address)):
                st.switch_page(EDITOR, query_params=address | {"example": name})
    st.caption("Silent is at most 5% of the neuron's maximum in the corpus. Bold is the token in question.")
