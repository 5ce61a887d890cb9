"""The dashboard's own routes beside Streamlit's: `api/reading` for the editor, `api/rating` for a rater.

A rerun of the page costs a browser tens of milliseconds at every key; a response here costs a forward pass,
or a transaction. Anyone who reaches the server can send a request. So a request is small, comes from a page
of this site, and concerns what the pages show. No text is stored; of a rating, only what the rater sent.
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

READING_PATH = "api/reading"
RATING_PATH = "api/rating"
MAX_BYTES = 12 * MAX_TEXT + 100_000
"""Most bytes of a request: two texts, whose code units take up to six bytes in JSON, and other fields."""
MAX_RUNNING = 2
"""Requests of one route that are handled at the same time."""
MAX_WAITING = 64
"""Requests of one route that wait; more are refused, and sent again by the browser."""

_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_Model = TypeVar("_Model", bound=BaseModel)
# Separate, so that a rater does not wait for people who type in the editor.
_reading_limiter = anyio.CapacityLimiter(MAX_RUNNING)
_rating_limiter = anyio.CapacityLimiter(MAX_RUNNING)
_log = logging.getLogger(__name__)


class RequestError(Exception):
    """A request that is refused: the HTTP status, and the reason in a sentence."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def routes() -> list[BaseRoute]:
    """Return the routes to serve beside Streamlit's, below its base path."""
    base = str(config.get_option("server.baseUrlPath")).strip("/")
    prefix = f"/{base}" if base else ""
    return [
        Route(f"{prefix}/{READING_PATH}", reading, methods=["POST"]),
        Route(f"{prefix}/{RATING_PATH}", rating, methods=["POST"]),
    ]


async def reading(request: Request) -> Response:
    """Handle a `ReadingRequest`; a refusal is JSON with an `error`."""
    # Imported when the server runs: importing services sets up Streamlit's caches.
    from dashboard.editor.reading_route import ReadingRequest, read_text

    def respond(content: ReadingRequest) -> Response:
        return _json(read_text(content))

    return await _handle(request, ReadingRequest, respond, _reading_limiter)


async def rating(request: Request) -> Response:
    """Handle a `RatingRequest`; a refusal is JSON with an `error`.

    The response is sent uncompressed: the size of compressed text would tell one card from another.
    """
    from dashboard.studies.rating_route import RatingRequest, store_and_advance

    def respond(content: RatingRequest) -> Response:
        headers = _HEADERS | {"Content-Encoding": "identity"}
        return Response(store_and_advance(content), headers=headers, media_type="application/json")

    return await _handle(request, RatingRequest, respond, _rating_limiter)


async def _handle(
    request: Request,
    model: type[_Model],
    respond: Callable[[_Model], Response],
    limiter: anyio.CapacityLimiter,
) -> Response:
    """Check a request, wait for a free worker, and return its response or the reason of a refusal."""
    try:
        check_origin(request)
        content = parse_body(model, await read_body(request))
        if limiter.statistics().tasks_waiting >= MAX_WAITING:
            raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, "too many requests: try again in a moment")
        async with limiter:
            if await request.is_disconnected():  # the person typed on or left: nobody needs the response
                raise ClientDisconnect
            return await anyio.to_thread.run_sync(respond, content)
    except RequestError as error:
        return _json({"error": str(error)}, error.status)
    except (AddressError, ModelError, CacheError, StudyError) as error:
        return _json({"error": str(error)}, HTTPStatus.CONFLICT)
    except AnnotationError as error:  # its message says where the database is: for the log alone
        _log.warning("%s", error)
        message = "the server's database does not respond: its log says why"
        return _json({"error": message}, HTTPStatus.SERVICE_UNAVAILABLE)
    except ClientDisconnect:
        return Response(status_code=HTTPStatus.NO_CONTENT)


def check_origin(request: Request) -> None:
    """Check that a request comes from a page of this site, and is JSON.

    A page of another site cannot send JSON without a preflight request, which no route here allows.
    Streamlit's options decide which hosts and origins belong to this site: `server.allowedHosts`,
    `server.enableCORS`, `server.corsAllowedOrigins`.

    Raises:
        RequestError: it is of another site, or not JSON.
    """
    host, origin = request.headers.get("host"), request.headers.get("origin")
    if not is_host_allowed(host):
        raise RequestError(HTTPStatus.FORBIDDEN, "the request names a host that this server does not serve")
    allowed = config.get_option("server.corsAllowedOrigins")
    if origin is not None and config.get_option("server.enableCORS") and origin not in allowed:
        try:
            is_same = urlsplit(origin).netloc == host
        except ValueError:
            is_same = False
        if not is_same:
            raise RequestError(HTTPStatus.FORBIDDEN, "the request comes from another site")
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "application/json":
        raise RequestError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "expected content of type application/json")


async def read_body(request: Request) -> bytes:
    """Return the body of a request, and stop reading where it is too long.

    Raises:
        RequestError: it has more than `MAX_BYTES`.
    """
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_BYTES:
            raise RequestError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"expected at most {MAX_BYTES:,} bytes: a text of at most {MAX_TEXT:,} characters",
            )
    return bytes(body)


def parse_body(model: type[_Model], body: bytes) -> _Model:
    """Return the content of a request.

    Raises:
        RequestError: it is not JSON, or not of the model.
    """
    try:
        return model.model_validate(json.loads(body))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"][:3])[:80]
        raise RequestError(HTTPStatus.UNPROCESSABLE_ENTITY, f"{field or 'request'}: {first['msg']}") from None
    except (ValueError, RecursionError):
        raise RequestError(HTTPStatus.BAD_REQUEST, "expected a request as JSON") from None


def _json(content: object, status: HTTPStatus = HTTPStatus.OK) -> Response:
    return JSONResponse(content, status, _HEADERS)
