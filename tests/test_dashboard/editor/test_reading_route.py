"""The route that reads a text while a person types: its numbers, and the requests that it refuses."""

import asyncio
import json
import threading
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from starlette.applications import Starlette
from streamlit import config

from cache.reader import NeuronCache
from dashboard import routes
from dashboard.editor import reading_route
from dashboard.editor.edited_text import MAX_TEXT, as_typed
from dashboard.shared import settings
from solu_model.loading.checkpoints import load_with_tokenizer
from solu_model.text.tokenizer import encode_texts

SAME_SITE = {"host": "here:8501", "origin": "http://here:8501", "content-type": "application/json"}
REQUEST = {"model": "tiny", "layer": 0, "neuron": 5, "hook": "hook_mid", "text": "The lamp was lit"}
HOOKS = ("hook_mid", "hook_post")


@pytest.fixture(autouse=True)
def shown(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny model is the only one that is shown."""
    monkeypatch.setattr(settings, "model_roots", lambda: [tiny_model])
    return tiny_model


async def requested(
    body: bytes,
    headers: Mapping[str, str] = SAME_SITE,
    method: str = "POST",
    path: str = "/api/reading",
    gone: asyncio.Event | None = None,
) -> tuple[int, Any]:
    """Status and JSON of a request, sent in pieces; the browser leaves when `gone` is set."""
    pieces = [body[i : i + 65536] for i in range(0, len(body), 65536)] or [b""]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if pieces:
            return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}
        await (gone or asyncio.Event()).wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": method, "path": path, "headers": raw, "query_string": b""}
    await Starlette(routes=routes.routes())(scope, receive, send)
    content = b"".join(message.get("body", b"") for message in sent)
    kinds = dict(sent[0]["headers"])
    return sent[0]["status"], json.loads(content) if b"json" in kinds.get(b"content-type", b"") else None


def read(content: object = REQUEST, **more: object) -> tuple[int, Any]:
    body = {**content, **more} if isinstance(content, dict) else content
    return asyncio.run(requested(json.dumps(body).encode()))


@pytest.mark.parametrize("keep", ["first", "last"])
@pytest.mark.parametrize(
    "text",
    [
        "The lamp was lit",
        "naïve שלום عليكم 漢字 🙂 👩‍👩‍👧 é\ttab\n\n  two spaces",
        "bell\x07 nul\x00 esc\x1b[31m \u202eabc\u200b\ufeff",
        "half \ud83d a character \udc00",
        "<script>alert(1)</script> <|BOS|> ${alert(1)}",
        "old\r\nline\rends",
        "1,024 lamps. " * 40,
    ],
)
def test_numbers_are_those_of_run_with_cache(tiny_model: Path, text: str, keep: str) -> None:
    status, found = read(text=text, keep=keep, pins=[[0, 7]])
    assert status == 200
    model, tokenizer = load_with_tokenizer(tiny_model)
    shown = as_typed(text)
    every = encode_texts(tokenizer, [shown])[0]
    assert found["n_all"] == len(every)
    assert found["n_ctx"] == 32
    first = 0 if keep == "first" else len(every) - found["n_read"]
    tokens = every[first : first + found["n_read"]]
    with torch.inference_mode():
        names = [f"blocks.0.mlp.{hook}" for hook in HOOKS]
        _, taken = model.run_with_cache(torch.tensor([[0, *tokens]]), names)
    units = shown.encode("utf-16-le")
    bounds = [found["start"], *found["ends"]]
    words = [units[2 * a : 2 * b].decode("utf-16-le") for a, b in pairwise(bounds)]
    at = 0
    data = NeuronCache.open(tiny_model / "neurons").vocabulary.token_bytes
    for k, word in enumerate(words):
        n = next(n for n in range(1, 9) if b"".join(data[t] for t in tokens[at : at + n]) == word.encode())
        for neuron, values in ((5, found["values"]), (7, {"hook_mid": found["pinned"][0]["values"]})):
            for hook, shown_values in values.items():
                own = taken[f"blocks.0.mlp.{hook}"][0, 1 + at : 1 + at + n, neuron].tolist()
                assert shown_values[k] == float(f"{max(own, key=abs):.7g}")
        at += n
    assert at == len(tokens)
    neuron = NeuronCache.open(tiny_model / "neurons").neuron
    assert found["scale"] == neuron(0, 5).moments("hook_mid").max
    assert found["pinned"][0]["scale"] == neuron(0, 7).moments("hook_mid").max


def test_no_text_has_no_tokens() -> None:
    status, found = read(text="", original="")
    assert status == 200
    assert (found["ends"], found["values"]["hook_mid"], found["original_tokens"]) == ([], [], [])


def test_tokens_of_the_original_are_found_again() -> None:
    _, plain = read(text="The lamp was lit")
    _, found = read(text="The lamp was lit", original="The lamp was lit")
    n = len(plain["ends"])
    assert plain["original_tokens"] == []
    assert found["original_tokens"] == list(range(n))
    _, found = read(text="Now: The lamp was lit", original="The lamp was lit")
    assert found["original_tokens"][-3:] == list(range(n - 3, n))
    assert found["original_tokens"][0] == -1


@pytest.mark.parametrize(
    ("content", "status", "message"),
    [
        ([], 422, "request"),
        (None, 422, "request"),
        ({}, 422, "model"),
        (REQUEST | {"layer": "0"}, 422, "layer"),
        (REQUEST | {"layer": True}, 422, "layer"),
        (REQUEST | {"neuron": -1}, 422, "neuron"),
        (REQUEST | {"neuron": 1e300}, 422, "neuron"),
        (REQUEST | {"neuron": 10**30}, 422, "neuron"),
        (REQUEST | {"text": None}, 422, "text"),
        (REQUEST | {"text": ["a"]}, 422, "text"),
        (REQUEST | {"text": "a" * (MAX_TEXT + 1)}, 422, "text"),
        (REQUEST | {"original": "a" * (MAX_TEXT + 1)}, 422, "original"),
        (REQUEST | {"keep": "all"}, 422, "keep"),
        (REQUEST | {"pins": [[0, 1]] * 7}, 422, "pins"),
        (REQUEST | {"pins": [[0]]}, 422, "pins"),
        (REQUEST | {"pins": [[0, -1]]}, 422, "pins"),
        (REQUEST | {"path": "/etc/passwd"}, 422, "path"),
        (REQUEST | {"model": "m" * 5000}, 422, "model"),
        (REQUEST | {"model": "../../etc"}, 409, "there is no model '../../etc'"),
        (REQUEST | {"model": "/etc/passwd"}, 409, "there is no model"),
        (REQUEST | {"model": "\ud800"}, 422, "model"),
        (REQUEST | {"neuron": 48}, 409, "neurons 0 to 47"),
        (REQUEST | {"layer": 7}, 409, "layer"),
        (REQUEST | {"hook": "__class__"}, 409, "__class__"),
        (REQUEST | {"pins": [[0, 48]]}, 409, "neurons 0 to 47"),
        (REQUEST | {"pins": [[9, 0]]}, 409, "layer"),
    ],
)
def test_a_request_about_something_else_is_refused(content: object, status: int, message: str) -> None:
    returned_status, response = read(content)
    assert returned_status == status
    assert list(response) == ["error"]
    assert message in response["error"]
    assert len(response["error"]) < 600


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"layer": ' + b"9" * 10_000 + b"}", b"NaN"]
)
def test_what_is_no_json_is_refused(body: bytes) -> None:
    status, content = asyncio.run(requested(body))
    assert status in (400, 422)
    assert list(content) == ["error"]


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"origin": "http://elsewhere"}, 403),
        ({"origin": "http://here:8501.elsewhere"}, 403),
        ({"origin": "http://here:9999"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://[here:8501"}, 403),
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({"content-type": ""}, 415),
        ({"content-type": "application/json; charset=utf-8"}, 200),
    ],
)
def test_another_site_is_refused(changes: dict[str, str], status: int) -> None:
    body = json.dumps(REQUEST).encode()
    assert asyncio.run(requested(body, SAME_SITE | changes))[0] == status


def test_streamlits_options_say_who_is_of_this_site(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: dict[str, Any] = {}
    option = config.get_option
    monkeypatch.setattr(config, "get_option", lambda name: chosen.get(name, option(name)))
    body = json.dumps(REQUEST).encode()
    other = SAME_SITE | {"origin": "https://lab.example"}
    assert asyncio.run(requested(body, other))[0] == 403
    chosen["server.corsAllowedOrigins"] = ["https://lab.example"]
    assert asyncio.run(requested(body, other))[0] == 200
    chosen["server.allowedHosts"] = ["lab.example"]
    assert asyncio.run(requested(body, other))[0] == 403
    chosen["server.allowedHosts"] = ["here"]
    assert asyncio.run(requested(body, other))[0] == 200
    chosen["server.baseUrlPath"] = "/solu/"
    assert asyncio.run(requested(body))[0] == 404
    assert asyncio.run(requested(body, path="/solu/api/reading"))[0] == 200


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS"])
def test_only_a_post_is_answered(method: str) -> None:
    assert asyncio.run(requested(b"", method=method))[0] == 405


def test_no_more_is_read_than_a_request_can_have() -> None:
    status, content = asyncio.run(requested(b" " * (routes.MAX_BYTES + 1)))
    assert status == 413
    assert f"{MAX_TEXT:,} characters" in content["error"]
    longest = REQUEST | {"text": "\x01" * MAX_TEXT, "original": "\x01" * MAX_TEXT}
    assert len(json.dumps(longest)) <= routes.MAX_BYTES


def test_a_replaced_model_is_noticed(shown: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "tiny"
    own.mkdir()
    for file in shown.rglob("*"):
        target = own / file.relative_to(shown)
        target.mkdir() if file.is_dir() else target.write_bytes(file.read_bytes())
    monkeypatch.setattr(settings, "model_roots", lambda: [own])
    _, before = read()
    weights = own / "model.safetensors"
    right = weights.read_bytes()
    weights.write_bytes(right[:-8])
    status, content = read()
    assert status == 409
    assert "built from another checkpoint" in content["error"]
    weights.write_bytes(right)
    assert read() == (200, before)
    (own / "config.json").unlink()
    weights.unlink()
    assert read()[0] == 409


class Slow:
    """Responses that wait until they are released."""

    def __init__(self) -> None:
        self.go, self.texts = threading.Event(), list[str]()

    def __call__(self, request: reading_route.ReadingRequest) -> dict[str, str]:
        self.texts.append(request.text)
        self.go.wait(30)
        return {"of": request.text}


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Slow:
    made = Slow()
    monkeypatch.setattr(reading_route, "read_text", made)
    return made


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it did not come to that")


def test_work_is_bounded_and_nothing_is_computed_for_one_who_left(
    slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "MAX_WAITING", 2)

    async def crowd() -> list[tuple[int, Any]]:
        left = asyncio.Event()

        def ask(text: str, gone: asyncio.Event | None = None) -> "asyncio.Task[tuple[int, Any]]":
            return asyncio.create_task(requested(json.dumps(REQUEST | {"text": text}).encode(), gone=gone))

        at_once = [ask(f"{n}") for n in range(routes.MAX_RUNNING)]
        await until(lambda: len(slow.texts) == routes.MAX_RUNNING)
        waiting = [ask("leaves", left), ask("stays")]
        await until(lambda: routes._reading_limiter.statistics().tasks_waiting == 2)
        refused = await ask("one too many")
        left.set()
        slow.go.set()
        return [refused, *await asyncio.gather(*at_once, *waiting)]

    refused, *done = asyncio.run(crowd())
    assert refused[0] == 503
    assert "try again" in refused[1]["error"]
    assert [status for status, _ in done] == [200] * routes.MAX_RUNNING + [204, 200]
    assert done[-1][1] == {"of": "stays"}
    assert "leaves" not in slow.texts
    assert "one too many" not in slow.texts
