"""Hypotheses that people keep, for the pages: the open store, and what this session adds."""

import streamlit as st

from dashboard.shared.annotations import content
from dashboard.shared.annotations import service as annotations
from dashboard.shared.annotations.content import AnnotationError
from dashboard.shared.annotations.hypotheses import Hypothesis, HypothesisStore
from dashboard.shared.place import Place


def store() -> HypothesisStore:
    """The hypotheses that are kept.

    Raises:
        AnnotationError: the database cannot be opened.
    """
    return _store(content.database_url())


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
def _store(url: str) -> HypothesisStore:  # noqa: ARG001 the key of what is open
    return HypothesisStore(annotations.store().database)
