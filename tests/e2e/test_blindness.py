"""Nothing that a rater's browser receives tells the model."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page

from benchmarks.blind_capture import Capture, Received, leaks
from benchmarks.blind_features import against_chance, around
from cache.reader import NeuronCache
from dashboard.shared.annotations.database import Database
from dashboard.studies.plan.cards import make_cards
from dashboard.studies.plan.design import new_design
from dashboard.studies.plan.sampling import draw, side_of
from dashboard.studies.storage.store import StudyStore

pytestmark = pytest.mark.browser
NAMES = ("quagga-7q", "zebrafish-3k")  # words that no program and no text here has


@pytest.fixture(scope="module")
def shown_models(two_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("okapi-models")
    for name, own in zip(NAMES, ("tiny", "other"), strict=True):
        shutil.copytree(two_models / own, folder / name)
    return folder


@pytest.fixture
def rater(browser: Browser, server: str) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 720})
    context.add_cookies([{"name": "solu_user", "value": "dora", "url": server}])
    yield context.new_page()
    context.close()


@pytest.mark.slow
def test_nothing_received_tells_the_model(server: str, rater: Page, shown_models: Path, labels: Path) -> None:
    caches = [NeuronCache.open(shown_models / name / "neurons") for name in NAMES]
    sides = side_of(NAMES[0], caches[0], "hook_mid"), side_of(NAMES[1], caches[1])
    plan = draw(
        new_design(title="a study", sides=sides, n_neurons=20, n_repeats=2, n_checks=0, n_snippets=4,
                   n_before=4, n_after=2),
        caches,
    )  # fmt: skip
    store = StudyStore(Database(f"sqlite:///{labels}"))
    study = store.create(plan, make_cards(plan, caches))
    capture = Capture(rater)
    capture.rate_all(f"{server}/rate?study={study}")
    assert len(store.ratings(study)) == len(plan.items) == len(capture.exchanges) == 42

    secrets = [
        *NAMES, "okapi", "hook_mid", "hook_post", plan.salt, *(s.model_sha256[:12] for s in sides),
        sides[0].corpus[:12], *{d.origin for d in caches[0].documents().values()},
    ]  # fmt: skip
    assert leaks(capture.received, secrets) == []
    kinds = {thing.kind for thing in capture.received}
    assert kinds - {"console"} == {"address", "headers", "body", "frame", "page", "title"}
    # Streamlit looks for its server below the page's address first; nothing else is on the console.
    assert all(b"404 (Not Found)" in t.data for t in capture.received if t.kind == "console")
    assert sum(len(t.data) for t in capture.received if t.kind == "frame") > 10_000
    assert {t.data for t in capture.received if t.kind == "title"} == {b"Rate"}
    assert {t.data.decode() for t in capture.received if t.where == "page" and t.kind == "address"} == {
        f"{server}/rate?study={study}"
    }

    items = {item.name: item for item in plan.items}
    shown = [e for e in capture.exchanges[1:] if items[e["card"]["item"]].kind == "neuron"]
    assert {e["body_bytes"] for e in shown} == {shown[0]["body_bytes"]}
    assert {e["header_bytes"] for e in shown} == {shown[0]["header_bytes"]}
    own = np.array([items[e["card"]["item"]].side for e in shown])
    assert against_chance(around(shown), own, n=200)["p"] > 0.001
    told = around(shown)
    told[:, 5] += 5.0 * told[:, 5].std() * own  # answers that take longer for one model would be seen
    assert against_chance(told, own, n=200)["p"] < 0.01


def test_the_search_finds_what_is_there() -> None:
    """Each of these was a way to leak; the search sees all of them."""
    card = b'{"done": 1, "card": {"item": "ab", "snippets": [{"t": ["layer=3"], "s": [1]}]}}'
    fine = Received("body", "http://x/api/rating", card)
    assert leaks([fine], ["quagga-7q"]) == []
    for kind, where, data in [
        ("headers", "/", b"X-Model: Quagga-7q"),
        ("frame", "websocket", b"\x0a\x09quagga-7q\x12"),
        ("address", "page", b"/rate?study=a&layer=0"),
        ("body", "http://x/api/rating", card.replace(b'"item"', b'"neuron": 5, "item"')),
        ("body", "http://x/api/rating", card.replace(b'"item"', b'"source": "prose", "item"')),
        ("page", "page", b'<li data-name="quagga-7q">'),
    ]:
        assert leaks([Received(kind, where, data)], ["quagga-7q"]), data
