"""Links to the hypotheses that are kept with a neuron: they open the lab."""

import streamlit as st

from dashboard.shared.annotations import hypothesis_service as hypotheses
from dashboard.shared.annotations.hypotheses import Hypothesis
from dashboard.shared.lab_address import LabAddress
from dashboard.shared.messages import plain
from dashboard.shared.page_paths import LAB
from dashboard.shared.place import Place


def hypothesis_links(place: Place) -> None:
    """Draw a link into the lab for each hypothesis that is kept with a neuron; nothing if there is none."""
    kept = hypotheses.of_neuron(place)
    if kept:
        st.caption("Hypotheses")
    for hypothesis in kept:
        hypothesis_link(place, hypothesis, f"{hypothesis.name}, by {hypothesis.user}")


def hypothesis_link(place: Place, hypothesis: Hypothesis, label: str) -> None:
    """Draw a link that opens the lab with a neuron and a hypothesis."""
    st.page_link(
        LAB, label=plain(label), icon=":material/science:", width="content",
        query_params=LabAddress(hypothesis.text).params(place.address),
    )  # fmt: skip
