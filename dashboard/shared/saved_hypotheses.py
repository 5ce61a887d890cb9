"""Hypotheses saved with a neuron, for the pages: read, saved, and linked to the lab."""

import streamlit as st

from dashboard.shared.annotations.hypotheses import Hypothesis, HypothesisStore
from dashboard.shared.annotations.open_store import open_store
from dashboard.shared.annotations.service import key_of
from dashboard.shared.lab_address import LabAddress
from dashboard.shared.messages import plain
from dashboard.shared.page_paths import LAB
from dashboard.shared.place import Place
from dashboard.shared.user_name import required_user_name, user_name


def store() -> HypothesisStore:
    """Return the open store of hypotheses.

    Raises:
        AnnotationError: the database cannot be opened.
    """
    return open_store(HypothesisStore)


def of_place(place: Place) -> list[Hypothesis]:
    """Return everyone's hypotheses about a place's neuron: the user's own first, then the newest.

    Raises:
        AnnotationError: the database cannot be read.
    """
    user = user_name()
    return sorted(store().of_neuron(key_of(place)), key=lambda h: h.user != user)


def save(place: Place, name: str, text: str) -> Hypothesis:
    """Save a hypothesis about a place's neuron under the user's name. An empty text deletes it.

    Raises:
        AnnotationError: the user has no name yet, a part has the wrong length, or the database cannot be
            written.
    """
    user = required_user_name("hypotheses")
    return store().save(key_of(place), place.model.name, user, name, text)


def hypothesis_links(place: Place) -> None:
    """Draw a heading and links to the lab for the hypotheses about a place's neuron, if there are any."""
    hypotheses = of_place(place)
    if hypotheses:
        st.caption("Hypotheses")
    for hypothesis in hypotheses:
        hypothesis_link(place, hypothesis, f"{hypothesis.name}, by {hypothesis.user}")


def hypothesis_link(place: Place, hypothesis: Hypothesis, label: str) -> None:
    """Draw a link that opens a hypothesis in the lab."""
    st.page_link(
        LAB, label=plain(label), icon=":material/science:", width="content",
        query_params=LabAddress(hypothesis.text).params(place.address),
    )  # fmt: skip
