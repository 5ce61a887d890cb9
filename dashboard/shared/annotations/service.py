"""Annotations for the pages: the open database, and under whose name a session writes."""

import os
from typing import Any
from urllib.parse import unquote

import streamlit as st
from pydantic import TypeAdapter, ValidationError

from dashboard.shared import places
from dashboard.shared.annotations import content
from dashboard.shared.annotations.content import Annotation, AnnotationError, Key, UserName
from dashboard.shared.annotations.store import AnnotationStore
from dashboard.shared.catalog import FoundModel
from dashboard.shared.messages import plain
from dashboard.shared.place import Place

USER_VARIABLE = "SOLU_USER"
"""Environment: the name to write under, where one person alone uses the dashboard."""

COOKIE = "solu_user"
"""Where a browser keeps the name, percent-encoded."""

_SESSION_KEY = "user_name"
_HEADING = 60  # characters of a label beside a title


def store() -> AnnotationStore:
    """The database, opened once.

    Raises:
        AnnotationError: it cannot be opened.
    """
    return _store(content.database_url())


@st.cache_resource(max_entries=4, show_spinner=False)
def _store(url: str) -> AnnotationStore:
    return AnnotationStore(url)


def key_of(place: Place) -> Key:
    """What a place's annotations are kept under."""
    return Key(place.cache.manifest.model.sha256, place.layer, place.neuron)


def of_layer(model: FoundModel, layer: int) -> dict[int, Annotation]:
    """One annotation for each annotated neuron of a layer: this session's own, or else the newest.

    Empty where labels cannot be read: the page of labels says why.
    """
    found: dict[int, Annotation] = {}
    me = user_name()
    try:
        everyones = store().of_layer(places.cache_of(model).manifest.model.sha256, layer)
    except AnnotationError:
        return found
    for annotation in everyones:  # the newest first
        if annotation.user == me:
            found[annotation.key.neuron] = annotation
        else:
            found.setdefault(annotation.key.neuron, annotation)
    return found


def of_neuron(place: Place) -> list[Annotation]:
    """What everyone says of a neuron, the session's own first, then the newest.

    Raises:
        AnnotationError: the database cannot be read.
    """
    me = user_name()
    return sorted(store().of_neuron(key_of(place)), key=lambda a: a.user != me)


def heading_marks(place: Place) -> str:
    """The star and label beside a neuron's title, as Markdown; empty where there are none.

    The session's own, or else the newest of others.
    """
    try:
        found = of_neuron(place)
    except AnnotationError:
        return ""
    star = "★" if any(a.content.star for a in found) else ""
    label = next((a.content.label for a in found if a.content.label), "")
    short = label if len(label) <= _HEADING else label[: _HEADING - 1] + "…"
    return " ".join(filter(None, [star, plain(short)]))


def save(place: Place, **changes: Any) -> Annotation | None:
    """Change parts of what this session's person says of a neuron: fields of `Content`.

    Raises:
        AnnotationError: it has no name yet, or the database cannot be written.
    """
    user = user_name()
    if not user:
        raise AnnotationError("labels are kept under a name: say yours first")
    return store().save(key_of(place), place.model.name, user, **changes)


def user_name() -> str:
    """The name this session writes under: said in it, or SOLU_USER, or what the browser kept; else empty."""
    said = st.session_state.get(_SESSION_KEY)
    if isinstance(said, str):
        return said
    candidates = os.environ.get(USER_VARIABLE, ""), unquote(st.context.cookies.get(COOKIE, ""))
    return next((name for text in candidates if (name := _valid(text))), "")


def set_user_name(name: str) -> str:
    """Write under a name from now on in this session; empty for none.

    Raises:
        AnnotationError: it is too long or no text.
    """
    valid = _valid(name)
    if name.strip() and not valid:
        raise AnnotationError("expected a name of at most 80 characters on one line")
    st.session_state[_SESSION_KEY] = valid
    return valid


def _valid(name: str) -> str:
    """A name as it is kept, or empty."""
    try:
        return _NAME.validate_python(" ".join(name.split()))
    except ValidationError:
        return ""


_NAME: TypeAdapter[str] = TypeAdapter(UserName)
