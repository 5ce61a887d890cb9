"""Records of annotations: a person's label, note, star and verdict on a neuron. No Streamlit, no database."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from dashboard.shared.settings import data_folder

VARIABLE = "SOLU_ANNOTATIONS"
"""Environment: the database, as a URL of SQLAlchemy. `solu dashboard --annotations` sets it."""

Verdict = Literal["", "interpretable", "unsure", "not interpretable"]
VERDICTS: tuple[Verdict, ...] = ("interpretable", "unsure", "not interpretable")

_Record = TypeVar("_Record")


class AnnotationError(ValueError):
    """Records that cannot be read or saved: what was expected, what was found, and what to do."""


def _storable(text: str) -> str:
    """Refuse text that a database of UTF-8 cannot hold."""
    if "\0" in text or any("\ud800" <= c <= "\udfff" for c in text):
        raise ValueError("expected text, found a NUL or half of a surrogate pair")
    return text


def utc(time: datetime) -> datetime:
    """Return a time in UTC. A time without a zone is refused."""
    if time.tzinfo is None:
        raise ValueError("expected a time with its zone, as 2026-01-31T12:00:00+00:00")
    return time.astimezone(UTC)


Text = Annotated[str, AfterValidator(_storable)]
UserName = Annotated[Text, Field(min_length=1, max_length=80)]


@dataclass(frozen=True, slots=True)
class Key:
    """A neuron of a checkpoint."""

    model_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    """SHA-256 of the weights. So annotations stay with the weights when their folder is renamed."""
    layer: Annotated[int, Field(ge=0, lt=2**31)]
    neuron: Annotated[int, Field(ge=0, lt=2**31)]


@dataclass(frozen=True, slots=True)
class Content:
    """The parts of an annotation, each of which may be empty."""

    label: Annotated[Text, Field(max_length=200)] = ""
    note: Annotated[Text, Field(max_length=20_000)] = ""
    star: bool = False
    verdict: Verdict = ""


@dataclass(frozen=True, slots=True)
class Annotation:
    """One person's label, note, star and verdict on one neuron."""

    key: Key
    model: Annotated[Text, Field(max_length=500)]
    """The model's name when the annotation was written."""
    user: UserName
    content: Content
    changed: Annotated[datetime, AfterValidator(utc)]


@dataclass(frozen=True, slots=True)
class Revision:
    """One change of an annotation."""

    id: int
    annotation: Annotation
    """Content after the change."""
    before: Content
    """Content of the same person and neuron before the change."""
    undoes: int | None
    """Id of the revision that this one takes back."""


def checked(kind: type[_Record], parts: Mapping[str, Any]) -> _Record:
    """Return a record, if each of its parts has the right kind and length.

    Raises:
        AnnotationError: a part does not; names the parts.
    """
    if kind not in _adapters:  # building one takes longer than a check
        _adapters[kind] = TypeAdapter(kind)
    try:
        record: _Record = _adapters[kind].validate_python(parts)
    except ValidationError as error:
        raise AnnotationError(validation_message(error)) from error
    return record


_adapters: dict[type[Any], TypeAdapter[Any]] = {}


def database_url(environment: Mapping[str, str] = os.environ) -> str:
    """Return SOLU_ANNOTATIONS, or the URL of a file in the user's data folder."""
    if named := environment.get(VARIABLE):
        return named
    return f"sqlite:///{data_folder(environment) / 'annotations.sqlite'}"


def validation_message(error: ValidationError) -> str:
    """Return the first of pydantic's complaints in one line."""
    return "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:3])
