"""The route of a rater: what it keeps, what it answers, what it refuses."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from dashboard import routes
from dashboard.studies.storage.store import StudyStore

Study = tuple[StudyStore, str]


@pytest.fixture
def study(make_study: Callable[..., Study]) -> Study:
    return make_study()


def said(item: str, verdict: str = "interpretable", **more: Any) -> dict[str, Any]:
    return {"item": item, "verdict": verdict, "seconds": 2.5, "hidden_seconds": 0.5} | more


@pytest.fixture
def client() -> Iterator[TestClient]:
    """One server for all requests of a test, also for those at once."""
    with TestClient(Starlette(routes=routes.routes()), base_url="http://localhost") as running:
        yield running


@pytest.fixture
def asked(client: TestClient) -> Callable[..., Any]:
    def ask(study: str, rater: str = "ann", **did: Any) -> Any:
        body = json.dumps({"study": study, "rater": rater, **did})
        return client.post("/api/rating", content=body, headers={"Content-Type": "application/json"})

    return ask


def test_a_rating_that_comes_twice_or_at_once_is_one(study: Study, asked: Callable[..., Any]) -> None:
    store, name = study
    first = asked(name).json()
    assert first["done"] == 0
    assert first["total"] == 7
    assert first["card"] == json.loads(store.card(name, store.next_item(name, "ann") or ""))
    rating = said(first["card"]["item"], rule="<b>the</b> lamp", confidence=2)
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: asked(name, rating=rating).content, range(4)))
    assert len(set(answers)) == 1
    assert json.loads(answers[0])["done"] == 1
    assert json.loads(answers[0])["card"]["item"] == store.next_item(name, "ann") != first["card"]["item"]
    later = asked(name, rating=said(first["card"]["item"], "not"))  # another word on what is kept: not taken
    assert later.content == answers[0]
    [kept] = store.ratings(name)
    assert (kept.item, kept.verdict, kept.rule, kept.confidence) == (
        first["card"]["item"], "interpretable", "<b>the</b> lamp", 2,
    )  # fmt: skip
    assert (kept.seconds, kept.hidden_seconds) == (2.5, 0.5)

    undone = asked(name, undo=True).json()
    assert undone["done"] == 0
    assert undone["card"] == first["card"]
    assert asked(name, undo=True).json() == undone  # nothing is left to undo


def test_all_answers_have_one_size_and_the_same_headers(study: Study, asked: Callable[..., Any]) -> None:
    _, name = study
    answer = asked(name)
    sizes, headers = [len(answer.content)], [dict(answer.headers)]
    while (card := answer.json()["card"]) is not None:
        assert answer.json()["seconds"] == 0
        answer = asked(name, rating=said(card["item"], "not"))
        sizes.append(len(answer.content))
        headers.append(dict(answer.headers))
    assert len(sizes) == 8
    assert len(set(sizes[:-1])) == 1
    assert all(h == headers[0] for h in headers[:-1])
    assert headers[0]["content-encoding"] == "identity"
    assert headers[0]["cache-control"] == "no-store"
    assert answer.json()["done"] == answer.json()["total"] == 7
    assert answer.json()["seconds"] == round(7 * 2.5)
    assert asked(name, "bob").json()["done"] == 0  # everyone for themselves


def test_what_is_refused(
    study: Study, client: TestClient, asked: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, name = study
    item = asked(name).json()["card"]["item"]
    for status, body in [
        (422, {"rating": said(item, "maybe")}),
        (422, {"rating": said(item, confidence=4)}),
        (422, {"rating": said(item, seconds=-1)}),
        (422, {"rating": said(item, rule="x" * 2_001)}),
        (422, {"rating": said(item, rule="half \ud800")}),
        (422, {"rating": said(item, at="2026-01-01")}),
        (422, {"rater": ""}),
        (422, {"more": 1}),
        (409, {"study": "no-such-study"}),
        (409, {"study": "../labels.sqlite"}),
        (409, {"rating": said("0" * 16)}),
        (409, {"rating": said("../../etc/passwd")}),
    ]:
        answer = asked(**({"study": name} | body))
        assert (answer.status_code, bool(answer.json()["problem"])) == (status, True), body
    assert store.ratings(name) == []
    other = {"origin": "http://elsewhere.example"}
    assert client.post("/api/rating", json={"study": name, "rater": "ann"}, headers=other).status_code == 403

    store.unblind(name, "ann")
    answer = asked(name, rating=said(item))
    assert answer.status_code == 409
    assert "closed" in answer.json()["problem"]

    monkeypatch.setenv("SOLU_ANNOTATIONS", "sqlite:////dev/null/secret-place.sqlite")
    answer = asked(name, rating=said(item))
    assert answer.status_code == 503  # the browser keeps it and sends it again
    assert "secret-place" not in answer.text
