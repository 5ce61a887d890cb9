"""What a person does: open a neuron, read its examples, walk on, come back."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from cache.reader import NeuronCache

pytestmark = pytest.mark.browser
HOSTILE = "<script>alert(1)</script>"


def heading(page: Page, text: str | re.Pattern[str]) -> None:
    expect(page.get_by_role("heading", name=text)).to_be_visible()


def open_neuron(page: Page, server: str, neuron: int, hook: str = "hook_mid") -> None:
    page.goto(f"{server}/?model=tiny&layer=0&neuron={neuron}&hook={hook}")
    heading(page, f"Layer 0 · neuron {neuron}")
    page.wait_for_selector(".example")


def read_text(page: Page, k: int) -> str:
    """An example as a reader gets it, without the marks of blanks."""
    text: str = (
        page.locator(".list .text")
        .nth(k)
        .evaluate("e => [...e.querySelectorAll('.tok')].map(t => t.textContent).join('')")
    )
    return text


def test_a_neuron_opens_and_its_first_example_is_read(server: str, page: Page, tiny_model: Path) -> None:
    cache = NeuronCache.open(tiny_model / "neurons")
    first = cache.neuron(0, 5).top("hook_mid")[0]
    open_neuron(page, server, 5)
    words = "".join(p.text for p in cache.vocabulary.pieces(first.tokens))
    assert read_text(page, 0) == words.replace("\n", "")  # a line break is an element
    shown = float(page.locator(".example .value").first.inner_text())
    assert shown == pytest.approx(first.value, rel=1e-3)
    assert page.locator(".example").count() == 20
    expect(page.get_by_role("group", name="Histogram before the LayerNorm")).to_be_visible()
    expect(page.locator(".caption")).to_contain_text("hook_mid and hook_post")
    expect(page.locator(".caption")).to_contain_text("tokens of")


def test_hover_and_keyboard_show_both_values(server: str, page: Page) -> None:
    open_neuron(page, server, 5)
    page.locator(".example .peak").first.hover()
    tip = page.get_by_role("tooltip")
    expect(tip).to_contain_text("before LayerNorm")
    expect(tip).to_contain_text("after LayerNorm")
    expect(tip).to_contain_text("position in its document")
    expect(tip).to_contain_text(re.compile("source(prose|code|odd)"))
    page.mouse.move(0, 0)
    page.locator(".list .text").nth(1).focus()
    expect(tip).to_be_visible()
    before = tip.inner_text()
    page.keyboard.press("ArrowLeft")
    expect(tip).not_to_have_text(before)
    heading(page, "Layer 0 · neuron 5")  # the arrow moved within the example only


def test_previous_next_random_and_shortcuts(server: str, page: Page) -> None:
    open_neuron(page, server, 5)
    page.get_by_role("button", name="Next Shortcut").click()
    heading(page, "Layer 0 · neuron 6")
    expect(page).to_have_url(re.compile("neuron=6"))
    page.get_by_role("button", name="Previous").click()
    heading(page, "Layer 0 · neuron 5")
    page.locator("h3").first.click()
    page.keyboard.press("ArrowRight")
    heading(page, "Layer 0 · neuron 6")
    page.get_by_role("button", name="Random").click()
    expect(page.get_by_role("heading", name="Layer 0 · neuron 6")).to_have_count(0)


def test_the_address_restores_the_hook(server: str, page: Page) -> None:
    open_neuron(page, server, 9, "hook_post")
    expect(page.locator(".legend")).to_contain_text("hook_post")
    page.get_by_role("radio", name="before LayerNorm").click()
    expect(page.locator(".legend")).to_contain_text("hook_mid")
    expect(page).to_have_url(re.compile("hook=hook_mid"))
    page.reload()
    expect(page.locator(".legend")).to_contain_text("hook_mid")


def test_ranges_are_shown_with_their_exact_counts(server: str, page: Page, tiny_model: Path) -> None:
    ranges = NeuronCache.open(tiny_model / "neurons").neuron(0, 5).ranges("hook_mid")
    open_neuron(page, server, 5)
    page.get_by_role("radio", name="sampled by range").click()
    expect(page.locator(".group")).to_have_count(len(ranges))
    expect(page).to_have_url(re.compile("view=ranges"))
    shown = [
        int(re.match(r"[\d,]+", t).group().replace(",", ""))
        for t in page.locator(".group .detail").all_inner_texts()
    ]
    assert shown == [r.count for r in reversed(ranges)]
    assert page.locator(".example").count() == sum(len(r.examples) for r in ranges)
    page.reload()
    expect(page.locator(".group")).to_have_count(len(ranges))
    page.get_by_role("radio", name="weakest").click()
    expect(page.locator(".group")).to_have_count(0)
    lowest = NeuronCache.open(tiny_model / "neurons").neuron(0, 5).bottom("hook_mid")[0]
    expect(page.locator(".example .value").first).to_have_text(re.compile("^-"))
    assert float(page.locator(".example .value").first.inner_text()) == pytest.approx(lowest.value, rel=1e-3)


def test_line_breaks_and_context_are_the_readers_choice(server: str, page: Page) -> None:
    open_neuron(page, server, 5)
    page.get_by_role("button", name="hide line breaks").click()
    expect(page.get_by_role("button", name="hide line breaks")).to_have_attribute("aria-pressed", "true")
    assert page.locator(".list br:visible").count() == 0
    page.get_by_role("button", name="short", exact=True).click()
    page.get_by_role("button", name="Next Shortcut").click()
    heading(page, "Layer 0 · neuron 6")
    assert page.locator(".list").get_attribute("data-context") == "short"


def test_a_bad_address_gets_a_message(server: str, page: Page) -> None:
    page.goto(f"{server}/?model=tiny&layer=0&neuron=99999")
    expect(page.get_by_role("alert")).to_contain_text("neurons 0 to 47")
    page.goto(f"{server}/?model=%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E")
    expect(page.get_by_role("alert")).to_contain_text("<img src=x onerror=alert(1)>")
    assert page.get_by_role("alert").locator("img").count() == 0


def test_hostile_text_is_text(server: str, page: Page, tiny_model: Path) -> None:
    cache = NeuronCache.open(tiny_model / "neurons")
    neuron, rank = next(
        (neuron, rank)
        for neuron in range(cache.d_mlp)
        for rank, example in enumerate(cache.neuron(0, neuron).top("hook_mid"))
        if HOSTILE in "".join(p.text for p in cache.vocabulary.pieces(example.tokens))
    )
    open_neuron(page, server, neuron)
    assert HOSTILE in read_text(page, rank)
    assert page.locator(".list script, .list img").count() == 0


@pytest.mark.parametrize(
    "path",
    ["/?model=tiny&neuron=5", "/?model=tiny&neuron=5&view=ranges", "/neurons", "/models", "/?neuron=x"],
)
@pytest.mark.parametrize("accessible", ["both"], indirect=True)
def test_pages_are_accessible(server: str, page: Page, accessible: Callable[[], None], path: str) -> None:
    page.goto(server + path)
    ready = {"/neurons": ".row", "/models": "text=Neurons cached over"}
    page.wait_for_selector(ready.get(path, ".example, [role=alert]"))
    accessible()


def test_a_bar_of_a_histogram_shows_its_range(server: str, page: Page, tiny_model: Path) -> None:
    ranges = NeuronCache.open(tiny_model / "neurons").neuron(0, 5).ranges("hook_post")
    open_neuron(page, server, 5)
    # A part drawn anew while the script runs would lose the focus.
    expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")
    after = page.get_by_role("group", name="Histogram after the LayerNorm")
    after.focus()
    page.keyboard.press("End")
    expect(page.get_by_role("status").filter(has_text="token")).to_be_visible()
    page.keyboard.press("Enter")
    expect(page.locator(".group")).to_have_count(1)
    expect(page).to_have_url(re.compile(f"hook=hook_post.*view=ranges.*range={len(ranges) - 1}"))
    assert page.locator(".example").count() == len(ranges[-1].examples)
    page.get_by_role("button", name="All ranges").click()
    expect(page.locator(".group")).to_have_count(len(ranges))
    after.click(position={"x": 42, "y": 100})  # the lowest bar
    expect(page.locator(".group")).to_have_count(1)
    expect(page.locator(".group")).to_contain_text("0 and below")


def test_what_a_histogram_shows_is_the_readers_choice(server: str, page: Page) -> None:
    open_neuron(page, server, 5)
    assert page.locator("svg .normal").count() == 0
    page.get_by_role("button", name="normal").click()
    expect(page.locator("svg .normal")).to_have_count(2)
    page.get_by_role("button", name="ranges").click()
    assert page.locator("svg .interval").count() > 10
    heights = "all => all.map(e => e.getAttribute('height')).join()"
    logarithmic = page.locator("svg .bar").evaluate_all(heights)
    page.get_by_role("button", name="log counts").click()
    assert page.locator("svg .bar").evaluate_all(heights) != logarithmic
    page.get_by_role("button", name="Next Shortcut").click()
    heading(page, "Layer 0 · neuron 6")
    expect(page.locator("svg .normal")).to_have_count(2)  # the choice stays
