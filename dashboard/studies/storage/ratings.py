"""Records of ratings, of a rater's progress, and of a study in a list."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from dashboard.shared.annotations.content import Text, UserName, validation_message
from dashboard.studies.plan.design import StudyError, Verdict

Confidence = Literal[1, 2, 3]

MOST_RULE = 2_000
"""Characters of a rule in words."""

_DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Rating:
    """A rater's verdict on an item."""

    rater: UserName
    item: Annotated[str, Field(pattern="^[0-9a-f]{16}$")]
    verdict: Verdict
    rule: Annotated[Text, Field(max_length=MOST_RULE)] = ""
    """The rule in words; empty where the rater gives none."""
    confidence: Confidence | None = None
    seconds: Annotated[float, Field(ge=0, le=_DAY, allow_inf_nan=False)] = 0.0
    """Time from seeing the card to the verdict, without `hidden_seconds`."""
    hidden_seconds: Annotated[float, Field(ge=0, le=1_000 * _DAY, allow_inf_nan=False)] = 0.0
    """Time during which the page was hidden or the card was paused."""
    at: datetime | None = None
    """Time of saving, in UTC, by the store's clock."""


class RatedAlready(StudyError):
    """A second rating of an item by the same rater."""


@dataclass(frozen=True, slots=True)
class Progress:
    """A rater's progress, in items."""

    done: int
    total: int
    seconds: float
    """Time spent on the items done."""


@dataclass(frozen=True, slots=True)
class Summary:
    """A study in a list."""

    id: str
    title: str
    created: datetime
    closed: datetime | None
    """Time of unblinding; None: still blind."""
    n_items: int
    n_raters: int
    n_ratings: int
    """Number of ratings, without those that were undone."""


def checked_rating(rating: Rating) -> Rating:
    """Return a rating, if each of its parts has the right kind and length.

    Raises:
        StudyError: a part has not.
    """
    try:
        return _RATING.validate_python({name: getattr(rating, name) for name in Rating.__slots__})
    except ValidationError as error:
        raise StudyError(f"this rating cannot be saved: {validation_message(error)}") from error


def checked_name(name: str) -> str:
    """Return a rater's name, if it is valid.

    Raises:
        StudyError: it is empty, too long, or not text.
    """
    try:
        return _NAME.validate_python(name)
    except ValidationError as error:
        raise StudyError(f"expected a name of at most 80 characters: {validation_message(error)}") from error


_RATING = TypeAdapter(Rating)
_NAME: TypeAdapter[str] = TypeAdapter(UserName)
