"""Labels: under a name, saved as they change, seen by others, taken back, exported, imported."""

import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from dashboard.labels.files import from_file, to_json
from dashboard.shared.annotations.content import Annotation, Content, Key
from dashboard.shared.annotations.database import Database
from dashboard.shared.annotations.store import AnnotationStore

pytestmark = pytest.mark.browser
HOSTILE = "<img src=x onerror=alert(1)> *a* `b` $c$ [d](e)"


@pytest.fixture
def store(labels: Path) -> Iterator[AnnotationStore]:
    database = Database(f"sqlite:///{labels}")
    yield AnnotationStore(database)
    database.close()


@pytest.fixture
def key(tiny_model: Path, request: pytest.FixtureRequest) -> Key:
    """A neuron that no other test of this file writes to."""
    manifest = json.loads((tiny_model / "neurons" / "cache.json").read_text())
    own = [item.name for item in request.session.items if "test_labels.py" in item.nodeid]
    return Key(manifest["model"]["sha256"], 0, own.index(request.node.name))


def open_notes(page: Page, server: str, key: Key) -> None:
    page.goto(f"{server}/?model=tiny&layer=0&neuron={key.neuron}&panel=notes")
    expect(page.get_by_role("heading", name=f"neuron {key.neuron}")).to_be_visible()


def say_name(page: Page, name: str) -> None:
    page.get_by_role("textbox", name="Your name").fill(name)
    page.get_by_role("textbox", name="Your name").press("Enter")
    expect(page.get_by_label("Label", exact=True)).to_be_visible()


def test_a_name_is_asked_once_and_the_browser_keeps_it(server: str, page: Page, key: Key) -> None:
    open_notes(page, server, key)
    say_name(page, "Ada Löve; path=/")
    expect(page.get_by_text("as Ada Löve; path=/")).to_be_visible()
    open_notes(page, server, key)  # a new session
    expect(page.get_by_text("as Ada Löve; path=/")).to_be_visible()
    page.get_by_role("button", name="Other name").click()
    expect(page.get_by_role("textbox", name="Your name")).to_be_visible()


def test_all_parts_are_saved_as_they_change(
    server: str, page: Page, key: Key, store: AnnotationStore
) -> None:
    open_notes(page, server, key)
    say_name(page, "ada")
    page.get_by_text("Star", exact=True).click()
    expect(page.get_by_text(re.compile(r"^Saved \d\d:\d\d:\d\d UTC, as ada"))).to_be_visible()
    page.get_by_role("radio", name="unsure").click()
    page.get_by_label("Label", exact=True).fill(HOSTILE)
    page.get_by_label("Label", exact=True).press("Enter")
    page.get_by_label("Note").press_sequentially("two hj?x0")  # keys that mean something elsewhere
    page.get_by_label("Note").press("Control+Enter")
    expect(page.get_by_text("History, 4 changes")).to_be_visible()
    (annotation,) = store.of_neuron(key)
    assert annotation.content == Content(HOSTILE, "two hj?x0", True, "unsure")
    page.reload()
    expect(page.get_by_label("Label", exact=True)).to_have_value(HOSTILE)
    expect(page.get_by_label("Note")).to_have_value("two hj?x0")
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_label("Note")).to_have_value("")
    page.get_by_text("History, 5 changes").click()
    expect(page.get_by_text(re.compile("undone")).first).to_be_visible()
    page.get_by_role("button", name="Next Shortcut").click()
    expect(page.get_by_role("heading", name=f"neuron {key.neuron + 1}")).to_be_visible()
    label = page.get_by_label("Label", exact=True)
    expect(label.first).to_have_value("")  # the last neuron's stands beside it for a moment, and then leaves
    expect(label).to_have_count(1)
    expect(label).to_have_value("")


def test_others_are_read_and_never_overwritten(
    server: str, page: Page, key: Key, store: AnnotationStore
) -> None:
    store.save(key, "tiny", "bob", label=HOSTILE, note=HOSTILE, star=True, verdict="interpretable")
    open_notes(page, server, key)
    say_name(page, "ada")
    expect(page.get_by_text(f"bob · ★ · {HOSTILE} · interpretable")).to_be_visible()
    page.get_by_label("Label", exact=True).fill("mine")
    page.get_by_label("Label", exact=True).press("Enter")
    expect(page.get_by_text(re.compile(r"^Saved \d"))).to_be_visible()
    assert {a.user: a.content.label for a in store.of_neuron(key)} == {"ada": "mine", "bob": HOSTILE}


def test_what_cannot_be_saved_stays_and_is_tried_again(
    server: str, page: Page, key: Key, store: AnnotationStore, labels: Path
) -> None:
    open_notes(page, server, key)
    say_name(page, "ada")
    other = sqlite3.connect(labels, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    page.get_by_label("Label", exact=True).fill("dear")
    page.get_by_label("Label", exact=True).press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("another program is writing to it")
    expect(page.get_by_label("Label", exact=True)).to_have_value("dear")
    other.execute("ROLLBACK")
    other.close()
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_text(re.compile(r"^Saved \d"))).to_be_visible()
    assert store.of_neuron(key)[0].content.label == "dear"


def test_the_page_of_labels_searches_opens_exports_and_imports(
    server: str, page: Page, key: Key, store: AnnotationStore, tmp_path: Path
) -> None:
    store.save(key, "tiny", "eve", label="needle in a haystack", star=True)
    page.goto(f"{server}/labels")
    page.get_by_role("textbox", name="Search").fill("NEEDLE")
    page.get_by_role("textbox", name="Search").press("Enter")
    expect(page.get_by_text(re.compile("^1 of"))).to_be_visible()
    files = {}
    for name in ("CSV", "JSON"):
        with page.expect_download() as download:
            page.get_by_role("button", name=f"Download 1 as {name}").click()
        assert download.value.suggested_filename == f"solu-explorer-labels.{name.lower()}"
        files[name] = Path(download.value.path()).read_bytes()
    (exported,) = from_file(files["CSV"])
    assert from_file(files["JSON"]) == [exported]
    assert (exported.user, exported.content.label) == ("eve", "needle in a haystack")

    changed = tmp_path / "more.json"
    more = [
        exported,
        Annotation(key, "tiny", "mallory", Content("=1"), exported.changed),
    ]
    changed.write_text(to_json(more), encoding="utf-8")
    page.get_by_text("Import", exact=True).first.click()
    page.locator("input[type=file]").set_input_files(changed)
    expect(page.get_by_text("more.json")).to_be_visible()
    page.get_by_test_id("stFormSubmitButton").get_by_role("button").click()
    expect(page.get_by_text("1 added, 0 changed, 1 skipped")).to_be_visible()
    broken = tmp_path / "broken.json"
    broken.write_text("{", encoding="utf-8")
    page.locator("input[type=file]").set_input_files(broken)
    expect(page.get_by_text("broken.json")).to_be_visible()
    page.get_by_test_id("stFormSubmitButton").get_by_role("button").click()
    expect(page.get_by_role("alert")).to_contain_text("line 1: not valid JSON")

    table = page.get_by_test_id("stDataFrame")
    page.wait_for_timeout(1000)  # the canvas has no element to wait for
    box = table.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + 15, box["y"] + 52)
    expect(page.get_by_role("heading", name=f"neuron {key.neuron}")).to_be_visible()
    expect(page.get_by_text(re.compile("eve · ★ · needle"))).to_be_visible()


def test_notes_and_labels_are_accessible(
    server: str, page: Page, accessible: Callable[[], None], key: Key, store: AnnotationStore
) -> None:
    store.save(key, "tiny", "bob", label="x", star=True)
    open_notes(page, server, key)
    say_name(page, "ada")
    for path in ("", f"{server}/labels"):
        if path:
            page.goto(path)
            expect(page.get_by_role("heading", name="Labels")).to_be_visible()
        accessible()
