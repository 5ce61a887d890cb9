"""What raters say of items, and how far they and their studies are."""

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
    """What a rater says of an item."""

    rater: UserName
    item: Annotated[str, Field(pattern="^[0-9a-f]{16}$")]
    verdict: Verdict
    rule: Annotated[Text, Field(max_length=MOST_RULE)] = ""
    """In words, where the rater gives one."""
    confidence: Confidence | None = None
    seconds: Annotated[float, Field(ge=0, le=_DAY, allow_inf_nan=False)] = 0.0
    """From seeing the card to the verdict, without the time in which the page was hidden."""
    hidden_seconds: Annotated[float, Field(ge=0, le=1_000 * _DAY, allow_inf_nan=False)] = 0.0
    """In between, in which the page was hidden."""
    at: datetime | None = None
    """When it was kept, in UTC; the store's own clock."""


class RatedAlready(StudyError):
    """A rating of an item that its rater has rated."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a rater is."""

    done: int
    total: int
    seconds: float
    """Spent on the items done."""


@dataclass(frozen=True, slots=True)
class Summary:
    """A study in a list."""

    id: str
    title: str
    created: datetime
    closed: datetime | None
    """When it was unblinded."""
    n_items: int
    n_raters: int
    n_ratings: int
    """That hold."""


def checked_rating(rating: Rating) -> Rating:
    """A rating, if every part is of the right kind and length.

    Raises:
        StudyError: one is not.
    """
    try:
        return _RATING.validate_python({name: getattr(rating, name) for name in Rating.__slots__})
    except ValidationError as error:
        raise StudyError(f"this rating cannot be kept: {validation_message(error)}") from error


def checked_name(name: str) -> str:
    """A rater's name, if it is one.

    Raises:
        StudyError: it is empty, too long or no text.
    """
    try:
        return _NAME.validate_python(name)
    except ValidationError as error:
        raise StudyError(f"expected a name of at most 80 characters: {validation_message(error)}") from error


_RATING = TypeAdapter(Rating)
_NAME: TypeAdapter[str] = TypeAdapter(UserName)
