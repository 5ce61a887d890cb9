"""The one route of our own, beside Streamlit's: what the editor asks while a person types.

A rerun of the page costs a browser tens of milliseconds a key; this costs a forward pass. Whoever reaches the
server can ask, so a question is small, of this site, and about what the pages show; nothing is kept of it.
"""

import json
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
from pydantic import ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from streamlit import config
from streamlit.web.server.starlette.starlette_websocket import is_host_allowed

from cache.schema import CacheError
from dashboard.catalog import ModelError
from dashboard.editing import MAX_TEXT
from dashboard.state import AddressError

if TYPE_CHECKING:
    from dashboard.services.answers import Question

PATH = "api/reading"
MOST_BYTES = 12 * MAX_TEXT + 100_000
"""Of a question: two texts of code units that JSON spells in six bytes each, and the rest."""
MOST_AT_ONCE = 2
"""Questions that are answered side by side."""
MOST_WAITING = 64
"""Questions that wait for their turn; more are refused, and asked again by the browser."""

_turns = anyio.CapacityLimiter(MOST_AT_ONCE)


class Refused(Exception):
    """A question that gets no answer: the HTTP status, and why in a sentence."""

    def __init__(self, status: HTTPStatus, problem: str) -> None:
        super().__init__(problem)
        self.status = status


def routes() -> list[BaseRoute]:
    """The routes to serve beside Streamlit's, below its base path."""
    base = str(config.get_option("server.baseUrlPath")).strip("/")
    return [Route(f"/{base}/{PATH}" if base else f"/{PATH}", reading, methods=["POST"])]


async def reading(request: Request) -> Response:
    """Answer a question about a text, see `Question`; what is refused is JSON too, with a `problem`."""
    # Imported when the server runs: what services keep is set up then.
    from dashboard.services.answers import answer

    try:
        check_origin(request)
        question = parsed(await body_of(request))
        if _turns.statistics().tasks_waiting >= MOST_WAITING:
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, "too many ask at once: ask again in a moment")
        async with _turns:
            if await request.is_disconnected():
                raise ClientDisconnect
            return _json(await anyio.to_thread.run_sync(answer, question))
    except Refused as refused:
        return _json({"problem": str(refused)}, refused.status)
    except (AddressError, ModelError, CacheError) as error:
        return _json({"problem": str(error)}, HTTPStatus.CONFLICT)
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


def parsed(body: bytes) -> "Question":
    """The question of a request.

    Raises:
        Refused: it is none.
    """
    from dashboard.services.answers import Question

    try:
        return Question.model_validate(json.loads(body))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"][:3])[:80]
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, f"{where or 'question'}: {first['msg']}") from None
    except (ValueError, RecursionError):
        raise Refused(HTTPStatus.BAD_REQUEST, "expected a question as JSON") from None


def _json(content: object, status: HTTPStatus = HTTPStatus.OK) -> Response:
    return JSONResponse(content, status, {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"})
