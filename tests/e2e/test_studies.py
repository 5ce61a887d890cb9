"""A rating study in a browser, from its plan to its files: created, followed, rated, unblinded, read."""

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from dashboard.shared.annotations.database import Database
from dashboard.studies.storage.ratings import Rating
from dashboard.studies.storage.store import StudyStore

pytestmark = pytest.mark.browser
TITLE = "*First* <b>look"


@pytest.fixture(scope="module")
def shown_models(two_models: Path) -> Path:
    return two_models


@pytest.fixture(scope="module", autouse=True)
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A database in which there is no study yet."""
    url = f"sqlite:///{tmp_path_factory.mktemp('studies') / 'own.sqlite'}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "SOLU_ANNOTATIONS", url)
        yield url


def downloaded(page: Page, button: str) -> bytes:
    with page.expect_download() as download:
        page.get_by_role("button", name=button).click()
    return Path(download.value.path()).read_bytes()


@pytest.mark.parametrize("accessible", ["both"], indirect=True)
def test_a_study_from_plan_to_results(
    server: str, page: Page, accessible: Callable[[], None], database: str, tmp_path: Path
) -> None:
    page.goto(f"{server}/studies")
    expect(page.get_by_text("No study yet")).to_be_visible()

    # The number of neurons follows the shares.
    expect(page.get_by_text("70 neurons per model")).to_be_visible()
    page.get_by_label("Second model, in %").fill("80")
    page.get_by_label("Second model, in %").press("Enter")
    expect(page.get_by_text("22 neurons per model")).to_be_visible()
    accessible()

    # Created only with a title that names no model.
    create = page.get_by_role("button", name="Create the study")
    expect(create).to_be_disabled()
    models = page.get_by_role("combobox", name="Models")
    for name in ("tiny · before LayerNorm", "other · after LayerNorm"):
        models.click()
        page.get_by_role("option", name=name).click()
    page.keyboard.press("Escape")
    for label, value in (  # the number of items is right when the last of them is in
        ("Snippets", 4),
        ("Shown twice", 1),
        ("Attention checks", 0),
        ("Neurons per model", 3),
    ):
        page.get_by_label(label, exact=True).fill(str(value))
        page.get_by_label(label, exact=True).press("Enter")
    expect(page.get_by_text("7 items per rater: about 0.2 hours")).to_be_visible()
    title = page.get_by_label("Title", exact=True)
    title.fill("Other neurons")
    title.press("Enter")
    create.click()
    expect(page.get_by_role("alert")).to_contain_text("names the model other")
    title.fill(TITLE)
    title.press("Enter")
    expect(page.get_by_role("alert")).to_have_count(0)
    create.click()

    # Blind: the address for raters, the hash, and nothing by model.
    expect(page.get_by_text("Nobody has rated yet.")).to_be_visible()
    expect(page.get_by_role("heading", name=TITLE)).to_be_visible()
    study = page.url.rsplit("study=", 1)[1]
    expect(page.get_by_test_id("stCode")).to_have_text(f"{server}/rate?study={study}")
    registered = downloaded(page, "Pre-registration")
    expect(page.get_by_text(hashlib.sha256(registered).hexdigest())).to_be_visible()
    assert json.loads(registered)["design"]["title"] == TITLE

    # Rated to the end by keys; a second rater stops half-way.
    page.goto(f"{server}/rate?study={study}")
    page.get_by_role("textbox", name="Your name, to save your ratings").fill("ada")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Continue")).to_be_focused()
    page.keyboard.press("Enter")
    for number in range(1, 8):
        expect(page.locator(".count")).to_have_text(f"{number} of 7")
        page.wait_for_timeout(450)
        page.keyboard.press("in"[number % 2])
    expect(page.locator(".snippet").first).to_be_hidden()
    store = StudyStore(Database(database))
    for _ in range(3):
        item = store.next_item(study, "=eve")
        assert item is not None
        store.rate(study, Rating("=eve", item, "interpretable", "=rule <i>", seconds=30))
    page.goto(f"{server}/study?study={study}")
    expect(page.get_by_text("10 ratings")).to_be_visible()
    assert not re.search("tiny|other", page.get_by_test_id("stMain").inner_text())

    # Unblinded by its title alone.
    page.get_by_text("Unblind and end the study").click()
    button = page.get_by_role("button", name="Unblind", exact=True)
    expect(button).to_be_disabled()
    page.get_by_label("type the study's title").fill("First look")
    page.get_by_label("type the study's title").press("Enter")
    expect(button).to_be_disabled()
    accessible()
    page.get_by_label("type the study's title").fill(TITLE)
    page.get_by_label("type the study's title").press("Enter")
    expect(button).to_be_enabled()
    button.click()

    # The results: figure, words, tables, files that agree with each other.
    expect(
        page.get_by_text(re.compile("2 raters called .* of other's 3 neurons.* by the exact test"))
    ).to_be_visible()
    expect(page.locator(".js-plotly-plot")).to_be_visible()
    expect(page.get_by_test_id("stDataFrame")).to_have_count(4)  # raters, layers, neurons, kappas
    page.get_by_text("Cohen's kappa of 1 pair of raters").click()
    page.get_by_text("How this is computed").click()
    expect(page.get_by_text("The neuron is the unit.")).to_be_visible()
    accessible()
    ratings, code = tmp_path / "ratings.csv", tmp_path / "recompute.py"
    ratings.write_bytes(downloaded(page, "Ratings (CSV)"))
    code.write_bytes(downloaded(page, "Code (Python)"))
    again = subprocess.run([sys.executable, code, ratings], capture_output=True, check=True)
    assert again.stdout == downloaded(page, "Results (JSON)")
    results = json.loads(again.stdout)
    assert [side["side"] for side in results["sides"]] == ["tiny", "other"]
    assert sum(rater["n_ratings"] for rater in results["raters"]) == 10
    assert len(json.loads(downloaded(page, "Ratings (JSON)"))) == 10
    key = downloaded(page, "Key (JSON)")
    assert hashlib.sha256(key).hexdigest() == json.loads(registered)["commitment"]
    assert b"other" in downloaded(page, "Figure (SVG)")
    assert downloaded(page, "Figure (PNG)").startswith(b"\x89PNG")

    # A neuron's row opens its page; the list knows that the study is closed.
    table = page.get_by_test_id("stDataFrame").last
    table.scroll_into_view_if_needed()
    page.wait_for_timeout(1000)  # the canvas has no element to wait for
    box = table.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + 15, box["y"] + 45)
    first = next(i for i in store.key(study) if i.kind == "neuron")
    expect(page.get_by_role("heading", name=f"Layer {first.layer} · neuron {first.neuron}")).to_be_visible()
    page.get_by_role("link", name="Studies").click()
    expect(page.locator(".stMarkdownBadge", has_text="unblinded")).to_be_visible()
    expect(page.get_by_text(re.compile("7 items per rater · 2 raters · 10 ratings"))).to_be_visible()
    page.get_by_role("link", name="Results").click()
    expect(page.get_by_role("heading", name=TITLE)).to_be_visible()

    page.goto(f"{server}/study?study=../../x<b>")
    expect(page.get_by_role("alert")).to_contain_text("there is no study")
    page.get_by_role("link", name="All studies").click()
    expect(page.get_by_role("heading", name="Studies")).to_be_visible()
