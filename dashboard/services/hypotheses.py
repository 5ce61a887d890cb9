"""Hypotheses and judgements by hand for the pages: their stores, opened once, and this session's part."""

import streamlit as st

from dashboard.annotations import content
from dashboard.annotations.content import AnnotationError
from dashboard.annotations.hand_labels import HandLabelStore
from dashboard.annotations.hypotheses import Hypothesis, HypothesisStore
from dashboard.services import annotations
from dashboard.services.places import Place


def store() -> HypothesisStore:
    """The hypotheses that are kept.

    Raises:
        AnnotationError: the database cannot be opened.
    """
    return _stores(content.database_url())[0]


def hand_labels() -> HandLabelStore:
    """The judgements that are kept; else as `store`."""
    return _stores(content.database_url())[1]


def of_neuron(place: Place) -> list[Hypothesis]:
    """What everyone keeps with a neuron, the session's own first, then the newest.

    Raises:
        AnnotationError: the database cannot be read.
    """
    me = annotations.user_name()
    return sorted(store().of_neuron(annotations.key_of(place)), key=lambda h: h.user != me)


def save(place: Place, name: str, text: str) -> Hypothesis:
    """Keep a hypothesis with a neuron under this session's name; an empty text deletes it.

    Raises:
        AnnotationError: nobody's name is known, a part is of the wrong length, or the database cannot be
            written.
    """
    user = annotations.user_name()
    if not user:
        raise AnnotationError("hypotheses are kept under a name: say yours first")
    return store().save(annotations.key_of(place), place.model.name, user, name, text)


@st.cache_resource(max_entries=4, show_spinner=False)
def _stores(url: str) -> tuple[HypothesisStore, HandLabelStore]:  # noqa: ARG001 the key of what is open
    database = annotations.store().database
    return HypothesisStore(database), HandLabelStore(database)
