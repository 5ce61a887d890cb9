"""The route of a rater: the ratings it stores, its responses, the requests it refuses."""

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


def sent(item: str, verdict: str = "interpretable", **more: Any) -> dict[str, Any]:
    return {"item": item, "verdict": verdict, "seconds": 2.5, "hidden_seconds": 0.5} | more


@pytest.fixture
def client() -> Iterator[TestClient]:
    """One server for all requests of a test, also for those at once."""
    with TestClient(Starlette(routes=routes.routes()), base_url="http://localhost") as running:
        yield running


@pytest.fixture
def post(client: TestClient) -> Callable[..., Any]:
    def send(study: str, rater: str = "ann", **did: Any) -> Any:
        body = json.dumps({"study": study, "rater": rater, **did})
        return client.post("/api/rating", content=body, headers={"Content-Type": "application/json"})

    return send


def test_a_rating_that_comes_twice_or_at_once_is_one(study: Study, post: Callable[..., Any]) -> None:
    store, name = study
    first = post(name).json()
    assert first["done"] == 0
    assert first["total"] == 7
    assert first["card"] == json.loads(store.card(name, store.next_item(name, "ann") or ""))
    rating = sent(first["card"]["item"], rule="<b>the</b> lamp", confidence=2)
    with ThreadPoolExecutor(4) as threads:
        responses = list(threads.map(lambda _: post(name, rating=rating).content, range(4)))
    assert len(set(responses)) == 1
    assert json.loads(responses[0])["done"] == 1
    assert json.loads(responses[0])["card"]["item"] == store.next_item(name, "ann") != first["card"]["item"]
    later = post(name, rating=sent(first["card"]["item"], "not"))  # another word on what is kept: not taken
    assert later.content == responses[0]
    [kept] = store.ratings(name)
    assert (kept.item, kept.verdict, kept.rule, kept.confidence) == (
        first["card"]["item"], "interpretable", "<b>the</b> lamp", 2,
    )  # fmt: skip
    assert (kept.seconds, kept.hidden_seconds) == (2.5, 0.5)

    undone = post(name, undo=True).json()
    assert undone["done"] == 0
    assert undone["card"] == first["card"]
    assert post(name, undo=True).json() == undone  # nothing is left to undo


def test_all_responses_have_one_size_and_the_same_headers(study: Study, post: Callable[..., Any]) -> None:
    _, name = study
    response = post(name)
    sizes, headers = [len(response.content)], [dict(response.headers)]
    while (card := response.json()["card"]) is not None:
        assert response.json()["seconds"] == 0
        response = post(name, rating=sent(card["item"], "not"))
        sizes.append(len(response.content))
        headers.append(dict(response.headers))
    assert len(sizes) == 8
    assert len(set(sizes[:-1])) == 1
    assert all(h == headers[0] for h in headers[:-1])
    assert headers[0]["content-encoding"] == "identity"
    assert headers[0]["cache-control"] == "no-store"
    assert response.json()["done"] == response.json()["total"] == 7
    assert response.json()["seconds"] == round(7 * 2.5)
    assert post(name, "bob").json()["done"] == 0  # everyone for themselves


def test_what_is_refused(
    study: Study, client: TestClient, post: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, name = study
    item = post(name).json()["card"]["item"]
    for status, body in [
        (422, {"rating": sent(item, "maybe")}),
        (422, {"rating": sent(item, confidence=4)}),
        (422, {"rating": sent(item, seconds=-1)}),
        (422, {"rating": sent(item, rule="x" * 2_001)}),
        (422, {"rating": sent(item, rule="half \ud800")}),
        (422, {"rating": sent(item, at="2026-01-01")}),
        (422, {"rater": ""}),
        (422, {"more": 1}),
        (409, {"study": "no-such-study"}),
        (409, {"study": "../labels.sqlite"}),
        (409, {"rating": sent("0" * 16)}),
        (409, {"rating": sent("../../etc/passwd")}),
    ]:
        response = post(**({"study": name} | body))
        assert (response.status_code, bool(response.json()["error"])) == (status, True), body
    assert store.ratings(name) == []
    other = {"origin": "http://elsewhere.example"}
    assert client.post("/api/rating", json={"study": name, "rater": "ann"}, headers=other).status_code == 403

    store.unblind(name, "ann")
    response = post(name, rating=sent(item))
    assert response.status_code == 409
    assert "closed" in response.json()["error"]

    monkeypatch.setenv("SOLU_ANNOTATIONS", "sqlite:////dev/null/secret-place.sqlite")
    response = post(name, rating=sent(item))
    assert response.status_code == 503  # the browser keeps it and sends it again
    assert "secret-place" not in response.text
