"""Annotations for the pages: of a place and of a layer, with those of this session's user first."""

from typing import Any

from analysis.formatting import shorten
from dashboard.shared import places
from dashboard.shared.annotations.content import Annotation, AnnotationError, Key
from dashboard.shared.annotations.open_store import open_store
from dashboard.shared.annotations.store import AnnotationStore
from dashboard.shared.catalog import ModelFolder
from dashboard.shared.messages import plain
from dashboard.shared.place import Place
from dashboard.shared.user_name import required_user_name, user_name

_HEADING = 60  # characters of a label beside a title


def store() -> AnnotationStore:
    """Return the open store of annotations.

    Raises:
        AnnotationError: the database cannot be opened.
    """
    return open_store(AnnotationStore)


def key_of(place: Place) -> Key:
    """Return the key of a place's neuron in the database."""
    return Key(place.cache.manifest.model.sha256, place.layer, place.neuron)


def by_neuron(model: ModelFolder, layer: int) -> dict[int, Annotation]:
    """Return one annotation for each annotated neuron of a layer: the user's own, else the newest.

    Empty where the database cannot be read. The page of labels shows the error.
    """
    annotations: dict[int, Annotation] = {}
    user = user_name()
    try:
        newest_first = store().of_layer(places.cache_of(model).manifest.model.sha256, layer)
    except AnnotationError:
        return annotations
    for annotation in newest_first:
        if annotation.user == user:
            annotations[annotation.key.neuron] = annotation
        else:
            annotations.setdefault(annotation.key.neuron, annotation)
    return annotations


def of_place(place: Place) -> list[Annotation]:
    """Return everyone's annotation of a place's neuron: the user's own first, then the newest.

    Raises:
        AnnotationError: the database cannot be read.
    """
    user = user_name()
    return sorted(store().of_neuron(key_of(place)), key=lambda a: a.user != user)


def heading_marks(place: Place) -> str:
    """Return the star and the label beside a neuron's title, as Markdown; empty without either.

    The label is the user's own, else the newest. A star of anybody counts.
    """
    try:
        annotations = of_place(place)
    except AnnotationError:
        return ""
    star = "★" if any(a.content.star for a in annotations) else ""
    label = next((a.content.label for a in annotations if a.content.label), "")
    return " ".join(filter(None, [star, plain(shorten(label, _HEADING))]))


def save(place: Place, **changes: Any) -> Annotation | None:
    """Change parts of the user's annotation of a place's neuron.

    Args:
        changes: fields of `Content`.

    Raises:
        AnnotationError: the user has no name yet, or the database cannot be written.
    """
    user = required_user_name("annotations")
    return store().save(key_of(place), place.model.name, user, **changes)
