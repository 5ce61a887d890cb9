"""What a rater's browser asks: keep this, and show me the next card.

An answer has one size for a whole study. A rating stands for itself: one that comes twice, or after the
server began anew, is kept once and answered alike.
"""

import json
from contextlib import suppress
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from dashboard.shared.annotations.content import Text, UserName
from dashboard.shared.annotations.open_store import open_store
from dashboard.studies.storage.ratings import MOST_RULE, RatedAlready, Rating
from dashboard.studies.storage.store import StudyStore

HEAD = 160
"""Bytes of an answer before its card, filled up with blanks."""

Seconds = Annotated[float, Field(ge=0, le=1e7, allow_inf_nan=False)]
Name = Annotated[Text, Field(min_length=1, max_length=200)]


class Said(BaseModel):
    """A verdict on a card, see `Rating`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    item: Name
    verdict: Literal["interpretable", "not"]
    rule: Annotated[Text, Field(max_length=MOST_RULE)] = ""
    confidence: Literal[1, 2, 3] | None = None
    seconds: Seconds
    hidden_seconds: Seconds = 0.0


class Asked(BaseModel):
    """What a rater has done, and for which study."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    study: Name
    rater: UserName
    rating: Said | None = None
    undo: bool = False
    """Take the last rating back."""


def answer(asked: Asked) -> bytes:
    """Keep what was done, then say where the rater is.

    Returns:
        JSON: `done` and `total` (cards), `seconds` (the rater's own, once all is rated), and `card` (null
        then).

    Raises:
        StudyError: there is no such study, it is closed, or it has no such card.
        AnnotationError: the database does not answer.
    """
    store = open_store(StudyStore)
    if asked.rating:
        with suppress(RatedAlready):  # the same once more
            store.rate(asked.study, Rating(rater=asked.rater, **asked.rating.model_dump()))
    elif asked.undo:
        store.undo(asked.study, asked.rater)
    item = store.next_item(asked.study, asked.rater)
    card = store.card(asked.study, item) if item else b"null"
    progress = store.progress_of(asked.study, asked.rater)
    seconds = round(progress.seconds) if item is None else 0
    head = json.dumps({"done": progress.done, "total": progress.total, "seconds": seconds})
    return head[:-1].encode().ljust(HEAD) + b', "card": ' + card + b"}"
