"""What people say of neurons: labels, notes, stars and verdicts, with who said it and when. Pure."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from dashboard.shared.settings import data_folder

VARIABLE = "SOLU_ANNOTATIONS"
"""Environment: the database, as a URL of SQLAlchemy. `solu dashboard --annotations` sets it."""

Verdict = Literal["", "interpretable", "unsure", "not interpretable"]
VERDICTS: tuple[Verdict, ...] = ("interpretable", "unsure", "not interpretable")


class AnnotationError(ValueError):
    """Labels that cannot be read or kept, with what was expected, what was found and what to do."""


def _storable(text: str) -> str:
    """Refuse what a database of UTF-8 text cannot hold."""
    if "\0" in text or any("\ud800" <= c <= "\udfff" for c in text):
        raise ValueError("expected text, found a NUL or half of a surrogate pair")
    return text


def utc(time: datetime) -> datetime:
    """A time in UTC; one without a zone is refused."""
    if time.tzinfo is None:
        raise ValueError("expected a time with its zone, as 2026-01-31T12:00:00+00:00")
    return time.astimezone(UTC)


Text = Annotated[str, AfterValidator(_storable)]
UserName = Annotated[Text, Field(min_length=1, max_length=80)]


@dataclass(frozen=True, slots=True)
class Key:
    """Which neuron, of which checkpoint."""

    model_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    """Of its weights: a label follows them, whatever the folder is called."""
    layer: Annotated[int, Field(ge=0, lt=2**31)]
    neuron: Annotated[int, Field(ge=0, lt=2**31)]


@dataclass(frozen=True, slots=True)
class Content:
    """What a person says of a neuron."""

    label: Annotated[Text, Field(max_length=200)] = ""
    note: Annotated[Text, Field(max_length=20_000)] = ""
    star: bool = False
    verdict: Verdict = ""

    @property
    def is_empty(self) -> bool:
        """Whether it says nothing."""
        return self == Content()


@dataclass(frozen=True, slots=True)
class Annotation:
    """What one person says of one neuron, and since when."""

    key: Key
    model: Annotated[Text, Field(max_length=500)]
    """The model's name when it was written."""
    user: UserName
    content: Content
    changed: Annotated[datetime, AfterValidator(utc)]


@dataclass(frozen=True, slots=True)
class Revision:
    """One change: what somebody said from then on."""

    id: int
    annotation: Annotation
    before: Content
    """What the same person said until then."""
    undoes: int | None
    """The revision that it takes back."""


@dataclass(frozen=True, slots=True)
class Merged:
    """What an import did, in annotations."""

    added: int
    changed: int
    skipped: int
    """Said here already, or something newer is."""


checked = TypeAdapter(Annotation).validate_python
"""An annotation, if every part of it is of the right kind and length; else pydantic's ValidationError."""


def database_url(environment: Mapping[str, str] = os.environ) -> str:
    """SOLU_ANNOTATIONS, or a file in the user's data folder."""
    if named := environment.get(VARIABLE):
        return named
    return f"sqlite:///{data_folder(environment) / 'annotations.sqlite'}"


def problems_of(error: ValidationError) -> str:
    """What pydantic found wrong, in one line."""
    return "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:3])
