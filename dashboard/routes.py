"""The routes of our own, beside Streamlit's: what the editor asks while a person types, what a rater says.

A rerun of the page costs a browser tens of milliseconds a key; an answer here costs a forward pass, or a
transaction. Whoever reaches the server can ask, so a question is small, of this site, and about what the
pages show; nothing is kept of a text, and of a rating what the rater said.
"""

import json
import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import TypeVar
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from streamlit import config
from streamlit.web.server.starlette.starlette_websocket import is_host_allowed

from cache.format.schema import CacheError
from dashboard.editor.edited_text import MAX_TEXT
from dashboard.shared.address import AddressError
from dashboard.shared.annotations.content import AnnotationError
from dashboard.shared.catalog import ModelError
from dashboard.studies.plan.design import StudyError

PATH = "api/reading"
RATING_PATH = "api/rating"
MOST_BYTES = 12 * MAX_TEXT + 100_000
"""Of a question: two texts of code units that JSON spells in six bytes each, and the rest."""
MOST_AT_ONCE = 2
"""Questions that are answered side by side."""
MOST_WAITING = 64
"""Questions that wait for their turn; more are refused, and asked again by the browser."""

_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_Asked = TypeVar("_Asked", bound=BaseModel)
_turns = anyio.CapacityLimiter(MOST_AT_ONCE)
_rating_turns = anyio.CapacityLimiter(MOST_AT_ONCE)
_log = logging.getLogger(__name__)


class Refused(Exception):
    """A question that gets no answer: the HTTP status, and why in a sentence."""

    def __init__(self, status: HTTPStatus, problem: str) -> None:
        super().__init__(problem)
        self.status = status


def routes() -> list[BaseRoute]:
    """The routes to serve beside Streamlit's, below its base path."""
    base = str(config.get_option("server.baseUrlPath")).strip("/")
    prefix = f"/{base}" if base else ""
    return [
        Route(f"{prefix}/{PATH}", reading, methods=["POST"]),
        Route(f"{prefix}/{RATING_PATH}", rating, methods=["POST"]),
    ]


async def reading(request: Request) -> Response:
    """Answer a question about a text, see `Question`; what is refused is JSON too, with a `problem`."""
    # Imported when the server runs: what services keep is set up then.
    from dashboard.editor.reading_route import Question, answer

    def answered(question: Question) -> Response:
        return _json(answer(question))

    return await _answered(request, Question, answered, _turns)


async def rating(request: Request) -> Response:
    """Keep a rating and answer with the next card, see `Asked`; what is refused has a `problem` instead.

    The answer is sent as it is: compressed, its size would say what is in it.
    """
    from dashboard.studies.rating_route import Asked, answer

    def answered(asked: Asked) -> Response:
        headers = _HEADERS | {"Content-Encoding": "identity"}
        return Response(answer(asked), headers=headers, media_type="application/json")

    return await _answered(request, Asked, answered, _rating_turns)


async def _answered(
    request: Request,
    kind: type[_Asked],
    answer: Callable[[_Asked], Response],
    turns: anyio.CapacityLimiter,
) -> Response:
    """The answer to a request of a kind, or why there is none."""
    try:
        check_origin(request)
        asked = parsed(kind, await body_of(request))
        if turns.statistics().tasks_waiting >= MOST_WAITING:
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, "too many ask at once: ask again in a moment")
        async with turns:
            if await request.is_disconnected():
                raise ClientDisconnect
            return await anyio.to_thread.run_sync(answer, asked)
    except Refused as refused:
        return _json({"problem": str(refused)}, refused.status)
    except (AddressError, ModelError, CacheError, StudyError) as error:
        return _json({"problem": str(error)}, HTTPStatus.CONFLICT)
    except AnnotationError as error:  # says where the database is: for the log
        _log.warning("%s", error)
        problem = "the server's database does not answer: its log says why"
        return _json({"problem": problem}, HTTPStatus.SERVICE_UNAVAILABLE)
    except ClientDisconnect:  # nobody waits for the answer any more
        return Response(status_code=HTTPStatus.NO_CONTENT)


def check_origin(request: Request) -> None:
    """Let in what a page of this site sends: JSON, which other sites cannot send without being asked first.

    Streamlit's own options say who else is of this site: `server.allowedHosts`, `server.enableCORS`,
    `server.corsAllowedOrigins`.

    Raises:
        Refused: it is of another site, or no JSON.
    """
    host, origin = request.headers.get("host"), request.headers.get("origin")
    if not is_host_allowed(host):
        raise Refused(HTTPStatus.FORBIDDEN, "the request names a host that this server does not go by")
    allowed = config.get_option("server.corsAllowedOrigins")
    if origin is not None and config.get_option("server.enableCORS") and origin not in allowed:
        try:
            same = urlsplit(origin).netloc == host
        except ValueError:
            same = False
        if not same:
            raise Refused(HTTPStatus.FORBIDDEN, "the request comes from another site")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "expected content of type application/json")


async def body_of(request: Request) -> bytes:
    """The content, no more of which is read than a question can have.

    Raises:
        Refused: it is longer.
    """
    found = bytearray()
    async for part in request.stream():
        found += part
        if len(found) > MOST_BYTES:
            raise Refused(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"expected at most {MOST_BYTES:,} bytes: a text of at most {MAX_TEXT:,} characters",
            )
    return bytes(found)


def parsed(kind: type[_Asked], body: bytes) -> _Asked:
    """The question of a request.

    Raises:
        Refused: it is none.
    """
    try:
        return kind.model_validate(json.loads(body))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"][:3])[:80]
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, f"{where or 'question'}: {first['msg']}") from None
    except (ValueError, RecursionError):
        raise Refused(HTTPStatus.BAD_REQUEST, "expected a question as JSON") from None


def _json(content: object, status: HTTPStatus = HTTPStatus.OK) -> Response:
    return JSONResponse(content, status, _HEADERS)
