"""What the bundled model alone has enough neurons for: pages of a list, a cloud of points, whole contexts."""

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

import dashboard
from cache.reader import NeuronCache
from dashboard.neurons.neuron_pages import PAGE_SIZE, page_of
from dashboard.shared.annotations.content import Key
from dashboard.shared.annotations.database import Database
from dashboard.shared.annotations.store import AnnotationStore
from dashboard.shared.neuron_query import Query

pytestmark = pytest.mark.browser
FURTHEST = """
(gd) => {
  const { xaxis, yaxis, _size } = gd._fullLayout;
  const trace = gd._fullData[0];
  const box = gd.getBoundingClientRect();
  const at = Array.from(trace.x, (x, i) => [_size.l + xaxis.d2p(x), _size.t + yaxis.d2p(trace.y[i])]);
  const far = ([x, y], [a, b]) => Math.hypot(a - x, b - y);
  const gap = (one, k) => Math.min(...at.map((other, i) => (i === k ? Infinity : far(one, other))));
  const gaps = at.map(gap);
  const best = gaps.indexOf(Math.max(...gaps));
  return [Number(trace.customdata[best]), box.x + at[best][0], box.y + at[best][1]];
}
"""
MODEL = Path(dashboard.__file__).parents[1] / "models" / "solu-1l"


@pytest.fixture(scope="module")
def shown_models() -> Path:
    return MODEL


def numbers(page: Page) -> list[int]:
    return [int(text) for text in page.locator(".row .open").all_inner_texts()]


def test_pages_of_a_list_follow_each_other(server: str, page: Page) -> None:
    expected = [
        row.neuron for row in page_of(MODEL / "neurons", Query("hook_mid", 0, sort="max", page=2)).rows
    ]
    page.goto(f"{server}/neurons?sort=max")
    page.wait_for_selector(".row")
    page.get_by_role("button", name="Page 2", exact=True).click()
    expect(page).to_have_url(re.compile("page=2"))
    expect(page.locator(".row .rank").first).to_have_text(str(PAGE_SIZE + 1))
    assert numbers(page) == expected
    page.reload()
    expect(page.locator(".row .rank").first).to_have_text(str(PAGE_SIZE + 1))


def test_one_of_several_tokens_is_picked(server: str, page: Page) -> None:
    cache = NeuronCache.open(MODEL / "neurons")
    page.goto(f"{server}/neurons?q=import&show=all")
    page.wait_for_selector(".row .match")
    first = numbers(page)
    page.get_by_role("button", name="·import", exact=True).or_(
        page.get_by_role("radio", name="·import", exact=True)
    ).click()
    token = next(t for t in range(len(cache.vocabulary)) if cache.vocabulary.text(t) == " import")
    expect(page).to_have_url(re.compile(f"token={token}"))
    expect(page.locator(".row .open").first).not_to_have_text(str(first[0]))
    assert numbers(page) == [neuron for neuron, _ in cache.neurons_for(token, 0, "hook_mid")]


def test_a_label_is_found(server: str, page: Page, labels: Path) -> None:
    manifest = json.loads((MODEL / "neurons" / "cache.json").read_text())
    database = Database(f"sqlite:///{labels}")
    key = Key(manifest["model"]["sha256"], 0, 539)
    AnnotationStore(database).save(key, "solu-1l", "ada", label="base64 in mixed case")
    database.close()
    page.goto(f"{server}/neurons?by=label")
    page.wait_for_selector(".row")
    page.get_by_label("Search for").fill("Base64")
    expect(page.locator(".row .open")).to_have_text(["539"])
    expect(page.locator(".row")).to_contain_text("base64 in mixed case")


def test_a_point_of_the_layer_opens_its_neuron(server: str, page: Page) -> None:
    page.goto(f"{server}/layer")
    figure = page.locator(".js-plotly-plot").nth(3)
    expect(figure.locator(".gl-canvas").first).to_be_attached()
    page.wait_for_timeout(1500)  # figures settle into their columns
    figure.scroll_into_view_if_needed()
    # The point that is the furthest from all others, so that no other is meant.
    neuron, x, y = figure.evaluate(FURTHEST)
    page.mouse.move(x - 3, y)
    page.mouse.move(x, y)
    page.mouse.click(x, y)
    expect(page.get_by_role("heading", name=f"Layer 0 · neuron {neuron}", exact=True)).to_be_visible()


def test_an_example_opens_to_its_whole_context(server: str, page: Page) -> None:
    cache = NeuronCache.open(MODEL / "neurons")
    example = cache.neuron(0, 539).top("hook_mid")[1]
    whole = cache.context(example)
    assert whole is not None
    page.goto(f"{server}/?neuron=539&hook=hook_mid")
    page.wait_for_selector(".example")
    page.locator(".example").nth(1).hover()
    page.get_by_role("button", name="Show the whole context of example 2").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.locator(".example")).to_have_count(1)
    expect(dialog).to_contain_text("The values were computed just now")
    text = dialog.locator(".text").evaluate(
        "e => [...e.querySelectorAll('.tok')].map(t => t.textContent).join('')"
    )
    written = "".join(piece.text for piece in cache.vocabulary.pieces(whole))
    assert text == written.replace("\n", "")  # which are breaks
    assert dialog.locator(".tok:visible").count() == dialog.locator(".tok").count()
    peak = dialog.locator(".tok.peak")
    peak.hover()
    expect(dialog.locator(".tip")).to_contain_text(f"{example.value:.4f}")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(page.locator(".example").first).to_be_visible()
