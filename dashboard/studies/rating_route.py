"""The route of a rater: its request, a rating to store, and the response with the next card.

All responses of a study have one size. Requests are stateless, and a rating that is sent twice is stored
once, so that a rater can continue after a server restart.
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
"""Bytes of a response before its card, filled up with blanks."""

Seconds = Annotated[float, Field(ge=0, le=1e7, allow_inf_nan=False)]
Name = Annotated[Text, Field(min_length=1, max_length=200)]


class SentRating(BaseModel):
    """A verdict on a card, with the fields of `Rating` that the browser knows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    item: Name
    verdict: Literal["interpretable", "not"]
    rule: Annotated[Text, Field(max_length=MOST_RULE)] = ""
    confidence: Literal[1, 2, 3] | None = None
    seconds: Seconds
    hidden_seconds: Seconds = 0.0


class RatingRequest(BaseModel):
    """A rater, a study, and what the rater did: a rating, an undo, or neither to begin."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    study: Name
    rater: UserName
    rating: SentRating | None = None
    undo: bool = False
    """Remove the rater's last rating."""


def store_and_advance(request: RatingRequest) -> bytes:
    """Store a rating or undo one, and return the rater's progress with the next card.

    Returns:
        JSON: `done` and `total` (numbers of cards), `seconds` (the rater's total, once all is rated; else 0),
        and `card` (null once all is rated).

    Raises:
        StudyError: there is no such study, it is closed, or it has no such card.
        AnnotationError: the database does not respond.
    """
    store = open_store(StudyStore)
    if request.rating:
        with suppress(RatedAlready):  # sent again after a lost response
            store.rate(request.study, Rating(rater=request.rater, **request.rating.model_dump()))
    elif request.undo:
        store.undo(request.study, request.rater)
    item = store.next_item(request.study, request.rater)
    card = store.card(request.study, item) if item else b"null"
    progress = store.progress_of(request.study, request.rater)
    seconds = round(progress.seconds) if item is None else 0
    head = json.dumps({"done": progress.done, "total": progress.total, "seconds": seconds})
    return head[:-1].encode().ljust(HEAD) + b', "card": ' + card + b"}"
