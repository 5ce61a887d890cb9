"""The lab, in a browser: written and marked, run over a sample, judged by hand, kept."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from dashboard.lab.hypothesis_files import from_json

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module", autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the server keeps samples."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "XDG_CACHE_HOME", str(folder))
        yield folder


def opened(page: Page, server: str, neuron: int, part: str = "", text: str = "") -> None:
    rest = f"&part={part}" * bool(part) + f"&hypothesis={quote(text)}" * bool(text)
    page.goto(f"{server}/lab?model=tiny&layer=0&neuron={neuron}{rest}")
    expect(page.get_by_role("heading", name=f"neuron {neuron}")).to_be_visible()


def box(page: Page):  # type: ignore[no-untyped-def]
    return page.get_by_role("textbox", name="Hypothesis")


def run_sample(page: Page) -> None:
    """The model over the sample, unless an earlier test did that."""
    button = page.get_by_role("button", name="Run the model", exact=True)
    done = page.get_by_text(re.compile(r"^Over [\d,]+ tokens of \d+ contexts"))
    button.or_(done).wait_for()
    if button.count():
        expect(page.get_by_text(re.compile(r"Takes about \d+ s of one core, and .* MB"))).to_be_visible()
        button.click()
    expect(done).to_be_visible(timeout=120_000)


def test_a_hypothesis_is_marked_while_it_is_typed(server: str, page: Page) -> None:
    page.goto(f"{server}/?model=tiny&layer=0&neuron=5")
    page.get_by_role("button", name="Test a hypothesis").click()
    expect(page.get_by_role("heading", name="Lab · layer 0 · neuron 5")).to_be_visible()
    expect(page.locator(".tok").first).to_be_visible()
    expect(page.locator(".list .fits")).to_have_count(0)
    box(page).press_sequentially("/[a-z]/", delay=30)
    expect(page.get_by_text(re.compile(r"^\d+ of \d+ fit$"))).to_be_visible()
    expect(page.locator(".js-plotly-plot")).to_be_visible()
    marked = page.locator(".list .fits").all_inner_texts()
    assert marked
    assert all(re.search("[a-z]", text) for text in marked)
    peaks = page.locator(".list .peak")
    n_fit = sum("fits" in (peaks.nth(k).get_attribute("class") or "") for k in range(peaks.count()))
    expect(page.get_by_text(f"{n_fit} of {peaks.count()} fit", exact=True)).to_be_visible()
    expect(page.locator(".head .yes")).to_have_count(n_fit)
    assert "hypothesis=%2F" in page.url

    box(page).press_sequentially(" and (", delay=30)  # what cannot be read leaves the page as it was
    expect(page.get_by_text(re.compile("At character 14: expected .* found the end"))).to_be_visible()
    expect(page.get_by_text("The page below still shows: /[a-z]/")).to_be_visible()
    expect(page.locator(".head .yes")).to_have_count(n_fit)
    for text, said in [
        ("/(/", "missing )"),
        ("/((x{1,99}){1,99}){1,99}/", "cannot be used"),
        ("/qqqq/", "No token of these examples fits"),
        ('source "prose" or not source "prose"', "Every token of these examples fits"),
        ("<b>hi</b>", "write /<b>hi</b>/"),
    ]:
        box(page).fill(text)
        expect(page.get_by_text(said)).to_be_visible()
    box(page).fill("")
    expect(page.get_by_text("Write above which tokens you think")).to_be_visible()
    for form, value in (
        ("pattern", "/[0-9]+/"),
        ("not", "/[0-9]+/ and not"),
        ("before", "/[0-9]+/ and not before /,/"),
    ):
        page.get_by_role("button", name=form, exact=True).click()
        expect(box(page)).to_have_value(value)
    page.get_by_role("button", name="Language").click()
    expect(page.get_by_text("the token before a match")).to_be_visible()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Next").click()
    expect(page.get_by_role("heading", name="neuron 6")).to_be_visible()
    expect(box(page)).to_have_value("/[0-9]+/ and not before /,/")
    page.reload()
    expect(box(page)).to_have_value("/[0-9]+/ and not before /,/")
    page.get_by_role("link", name="Neuron page").click()
    expect(page.get_by_role("heading", name="Layer 0 · neuron 6")).to_be_visible()
    page.goto(f"{server}/lab?part=x")
    expect(page.get_by_role("alert")).to_contain_text("expected one of")


def test_the_sample_answers_does_it_fire(server: str, page: Page) -> None:
    opened(page, server, 5, "detects", "/[0-9]/")
    run_sample(page)
    expect(page.get_by_text(re.compile(r"Average precision 0\.\d{3} \(0\.\d{3} to"))).to_have_count(2)
    expect(page.locator(".js-plotly-plot")).to_have_count(4)
    box(page).fill("/qqqq/")
    expect(page.get_by_text(re.compile("No token of the [0-9,]+ sampled tokens fits"))).to_be_visible()

    opened(page, server, 5, "where", "/[0-9]/")
    best = page.locator(".bars a").first
    name = best.inner_text()
    assert "hypothesis=%2F" in (best.get_attribute("href") or "")
    best.click()
    expect(page.get_by_role("heading", name=name)).to_be_visible()
    expect(box(page)).to_have_value("/[0-9]/")
    page.get_by_role("radio", name="Rankings").click()
    expect(page.get_by_text(re.compile(r"ranks 1 of 48"))).to_be_visible()
    expect(page.get_by_text("Proposals are a start")).to_be_visible()
    page.get_by_role("button", name="Try").first.click()
    expect(box(page)).not_to_have_value("/[0-9]/")

    opened(page, server, 5, "counterexamples", "/[0-9]/")
    expect(page.locator(".list")).to_have_count(2)
    for token in page.locator(".list").first.locator(".peak").all_inner_texts():
        assert not re.search("[0-9]", token)
    for token in page.locator(".list").last.locator(".peak").all_inner_texts():
        assert re.search("[0-9]", token)
    page.locator(".list").first.locator(".example").first.hover()
    page.locator(".list").first.locator(".edit").first.click()
    expect(page.locator("textarea")).to_be_visible()
    assert "example=sample-" in page.url
    expect(page.locator("textarea")).not_to_have_value("")


def test_examples_are_judged_by_key_and_resumed(server: str, page: Page) -> None:
    opened(page, server, 7, "hand", "/e/")
    page.get_by_role("textbox", name="Your name").fill("ada")
    page.get_by_role("textbox", name="Your name").press("Enter")
    expect(page.get_by_text(re.compile("^0 of [0-9]+ examples judged"))).to_be_visible()
    expect(page.get_by_text("activations hidden")).to_be_visible()
    expect(page.locator(".value")).to_have_count(0)
    first = page.locator(".text").inner_text()
    for done, key in enumerate("1231", start=1):
        page.keyboard.press(key)
        expect(page.get_by_text(re.compile(f"^{done} of [0-9]+ examples judged"))).to_be_visible()
    page.keyboard.press("u")
    expect(page.get_by_text(re.compile("^3 of [0-9]+ examples judged"))).to_be_visible()
    page.reload()
    expect(page.get_by_text(re.compile("^3 of [0-9]+ examples judged"))).to_be_visible()
    page.get_by_text("Show the judgements so far in a figure").click()
    expect(page.locator(".js-plotly-plot")).to_be_visible()
    expect(page.get_by_text("1 unsure, not counted.")).to_be_visible()
    for left in (2, 1, 0):
        page.get_by_role("button", name="Undo").click()
        expect(page.get_by_text(re.compile(f"^{left} of [0-9]+ examples judged"))).to_be_visible()
    expect(page.locator(".js-plotly-plot")).to_have_count(0)  # it goes a moment later, and has a .text too
    expect(page.locator(".text")).to_have_text(first, use_inner_text=True)


def test_hypotheses_are_kept_shared_and_taken_back(server: str, page: Page, tmp_path: Path) -> None:
    opened(page, server, 9, "saved", "/<b>x/")
    page.get_by_role("textbox", name="Your name").fill("ada")
    page.get_by_role("textbox", name="Your name").press("Enter")
    page.get_by_role("textbox", name="Save the hypothesis above as").fill("*bold* <i>")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("link", name="*bold* <i>")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download this neuron's 1 as JSON").click()
    exported = Path(download.value.path()).read_bytes()
    (kept,) = from_json(exported)
    assert (kept.key.neuron, kept.user, kept.name, kept.text) == (9, "ada", "*bold* <i>", "/<b>x/")
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("link", name="*bold* <i>")).to_have_count(0)
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_role("link", name="*bold* <i>")).to_be_visible()

    page.goto(f"{server}/?model=tiny&layer=0&neuron=9&panel=notes")
    page.get_by_role("link", name="*bold* <i>, by ada").click()
    expect(box(page)).to_have_value("/<b>x/")
    page.get_by_role("radio", name="Saved").click()
    more = tmp_path / "more.json"
    more.write_bytes(exported.replace(b"*bold* <i>", b"other"))
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    for file, said in ((more, "1 added, 0 changed, 0 skipped"), (broken, "expected JSON")):
        page.locator("input[type=file]").set_input_files(file)
        expect(page.get_by_text(file.name)).to_be_visible()
        page.get_by_test_id("stFormSubmitButton").get_by_role("button").click()
        expect(page.get_by_text(said)).to_be_visible()


def test_the_lab_is_accessible(server: str, page: Page, accessible: Callable[[], None]) -> None:
    opened(page, server, 3, "detects", "/[0-9]/")
    run_sample(page)
    for part in ("detects", "fires", "counterexamples", "where", "saved", "hand"):
        opened(page, server, 3, part, "/[0-9]/")
        if part == "hand":
            page.get_by_role("textbox", name="Your name").fill("eve")
            page.get_by_role("textbox", name="Your name").press("Enter")
            expect(page.get_by_text("activations hidden")).to_be_visible()
        page.wait_for_timeout(700)
        accessible()
