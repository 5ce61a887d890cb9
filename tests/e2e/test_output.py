"""What a neuron does to the output, neurons like it, and its examples run again, clicked through."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from analysis.formatting import number, visible
from cache.reader import NeuronCache
from solu_model import direct_logit_effects
from solu_model.loading.checkpoints import load_checkpoint

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def shown_models(two_models: Path) -> Path:
    """The tiny model and another that reads the same tokens."""
    return two_models


def open_panel(page: Page, server: str, panel: str, model: str = "tiny", layer: int = 0) -> None:
    page.goto(f"{server}/?model={model}&layer={layer}&neuron=5")
    page.wait_for_selector(".example")
    page.get_by_role("radio", name=panel).click()
    expect(page).to_have_url(re.compile("panel="))


def choose(page: Page, label: str, option: str) -> None:
    page.get_by_role("combobox", name=label).click()
    page.get_by_role("option", name=option, exact=True).click()


def column(page: Page, title: str) -> Locator:
    return page.locator(".column", has=page.get_by_role("heading", name=re.compile(f"^{title}")))


@pytest.mark.parametrize("fold", [False, True])
def test_the_most_promoted_and_suppressed_tokens(
    server: str, page: Page, two_models: Path, fold: bool
) -> None:
    effects = direct_logit_effects(load_checkpoint(two_models / "tiny")[0], 0, 5, fold=fold)[0]
    vocabulary = NeuronCache.open(two_models / "tiny" / "neurons").vocabulary
    open_panel(page, server, "Output")
    expect(column(page, "promotes").locator(".row")).to_have_count(12)
    if fold:
        choose(page, "Unit of the effect", "per standard deviation of hook_mid")
        expect(page.get_by_text("per standard deviation of the layer's hook_mid")).to_be_visible()
    for title, best in (("promotes", int(effects.argmax())), ("suppresses", int(effects.argmin()))):
        first = column(page, title).locator(".row").first
        expect(first.locator(".number")).to_have_text(number(float(effects[best])))
        expect(first.locator(".label")).to_have_text(visible(vocabulary.text(best)))


def test_a_bar_of_the_histogram_lists_its_tokens(server: str, page: Page, two_models: Path) -> None:
    effects = direct_logit_effects(load_checkpoint(two_models / "tiny")[0], 0, 5)[0]
    vocabulary = NeuronCache.open(two_models / "tiny" / "neurons").vocabulary
    open_panel(page, server, "Output")
    histogram = page.get_by_role("group", name=re.compile("effect on the 300 tokens"))
    histogram.focus()
    page.keyboard.press("End")
    expect(page.get_by_role("status").filter(has_text="click: its tokens")).to_be_visible()
    page.keyboard.press("Enter")
    tokens = column(page, "tokens of the bar").locator(".label")
    expect(tokens.first).to_have_text(visible(vocabulary.text(int(effects.argmax()))))
    page.get_by_role("button", name="Next Shortcut").click()
    expect(page.get_by_role("heading", name="Layer 0 · neuron 6")).to_be_visible()
    expect(column(page, "tokens of the bar")).to_have_count(0)


def test_a_token_is_found_with_its_rank(server: str, page: Page, two_models: Path) -> None:
    effects = direct_logit_effects(load_checkpoint(two_models / "tiny")[0], 0, 5)[0]
    vocabulary = NeuronCache.open(two_models / "tiny" / "neurons").vocabulary
    open_panel(page, server, "Output")
    token = vocabulary.token_bytes.index(b" the")
    page.get_by_role("textbox", name="Find a token").fill(" the")
    row = page.locator(".row.detailed").first
    expect(row.locator(".label")).to_have_text("·the")
    expect(row.locator(".number")).to_have_text(number(float(effects[token])))
    expect(row.locator(".detail")).to_have_text(f"rank {1 + int((effects > effects[token]).sum())} of 300")
    page.get_by_role("textbox", name="Find a token").fill("no such token")
    expect(page.get_by_text("No token of the vocabulary has this text.")).to_be_visible()


def test_the_effect_is_measured_and_the_examples_are_underlined(server: str, page: Page) -> None:
    open_panel(page, server, "Output")
    page.get_by_role("radio", name="By ablation on its examples").click()
    expect(page.get_by_text("The 20 strongest examples, run with the neuron and without it")).to_be_visible()
    expect(page.get_by_text("among the 1% most promoted")).to_be_visible()
    expect(column(page, "raises").locator(".row")).to_have_count(8)
    before = column(page, "raises").inner_text()
    choose(page, "The neuron is", "replaced by zero, final norm's divisor held")
    expect(page.get_by_text("correlation 1.000")).to_be_visible()
    choose(page, "The neuron is", "replaced by its mean")
    expect(page.get_by_text("correlation 1.000")).to_have_count(0)
    expect(column(page, "raises")).not_to_have_text(before)

    assert page.locator(".list .more, .list .less").count() == 0
    page.get_by_text("Underline the examples").click()
    expect(page.locator(".list .more").first).to_be_visible()
    expect(page.locator(".legend")).to_contain_text("it makes the next token likelier or less likely")
    page.locator(".list .more").first.hover()
    expect(page.get_by_role("tooltip")).to_contain_text(re.compile(r"adds to the next token\s*\+[\d.]+ nats"))
    page.get_by_role("button", name="Next Shortcut").click()  # holds for the next neuron as well
    expect(page.get_by_role("heading", name="Layer 0 · neuron 6")).to_be_visible()
    expect(page.locator(".list .more").first).to_be_visible()
    page.get_by_role("radio", name="Numbers").click()
    expect(page.locator(".list .more, .list .less")).to_have_count(0)


def test_a_deeper_model_is_said_to_show_the_direct_path(server: str, page: Page) -> None:
    open_panel(page, server, "Output", "other", 0)
    expect(page.get_by_text("The direct path alone")).to_be_visible()
    expect(page.get_by_role("combobox", name="Unit of the effect")).to_have_count(0)  # there is no hook_mid
    open_panel(page, server, "Output", "other", 1)
    expect(column(page, "promotes").locator(".row")).to_have_count(12)
    expect(page.get_by_text("The direct path alone")).to_have_count(0)


@pytest.mark.parametrize(
    ("measure", "words"),
    [
        ("the tokens they fire on", "peaks are on the same tokens"),
        ("activation on the same text", "Correlation of hook_mid over"),
        ("W_out: what they write", "Cosine of the rows of W_out"),
        ("W_in: what they read", "Cosine of the columns of W_in"),
    ],
)
def test_a_similar_neuron_is_a_click_away(server: str, page: Page, measure: str, words: str) -> None:
    open_panel(page, server, "Similar")
    if not measure.startswith("the tokens"):  # the choice to begin with
        choose(page, "Similar by", measure)
    expect(page.get_by_text(words)).to_be_visible()
    expect(page.locator("[data-stale=true]")).to_have_count(0)
    link = column(page, "most similar").locator("a.label").first
    name = link.inner_text()
    link.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=f"Layer 0 · {name}", exact=True)).to_be_visible()
    expect(page).to_have_url(re.compile(rf"neuron={name.split()[-1]}&.*panel=similar"))
    expect(page.get_by_text(words)).to_be_visible()


def test_other_layers_and_another_model_are_compared(server: str, page: Page) -> None:
    open_panel(page, server, "Similar", "other", 0)
    link = column(page, "most similar").locator("a.label").first
    choose(page, "Layers", "layer 1")
    expect(link).to_have_attribute("href", re.compile("layer=1"))
    choose(page, "Layers", "all layers")
    expect(link).to_have_text(re.compile(r"^[01] · \d+$"))
    choose(page, "Similar by", "activation on the same text")
    choose(page, "Neurons of", "tiny")
    expect(page.get_by_text("Correlation of hook_post over")).to_be_visible()
    link = column(page, "most similar in tiny").locator("a.label").first
    expect(link).to_have_attribute("href", re.compile("model=tiny&layer=0"))
    neuron = link.inner_text().split(" · ")[1]
    link.click()
    expect(page.get_by_role("heading", name=f"Layer 0 · neuron {neuron}", exact=True)).to_be_visible()
    expect(page).to_have_url(re.compile("model=tiny"))


def test_stored_examples_are_run_again(server: str, page: Page) -> None:
    open_panel(page, server, "Provenance")
    page.get_by_role("button", name="Recompute these examples").click()
    expect(page.get_by_text("20 of 20 examples with all the text before them agree")).to_be_visible()
    expect(page.locator("[data-testid=stDataFrame]")).to_be_visible()
    open_panel(page, server, "Provenance", "other", 1)
    page.get_by_role("button", name="Recompute these examples").click()
    expect(page.get_by_text("the cache does not keep the text before the window")).to_be_visible()


def test_panels_are_accessible(server: str, page: Page, accessible: Callable[[], None]) -> None:
    open_panel(page, server, "Output")
    page.wait_for_selector(".column .row")
    accessible()
    page.get_by_role("radio", name="By ablation on its examples").click()
    page.get_by_text("Underline the examples").click()
    page.wait_for_selector(".list .more")
    accessible()
    page.get_by_role("radio", name="Similar").click()
    page.wait_for_selector(".column .row")
    accessible()
    page.get_by_role("radio", name="Provenance").click()
    page.get_by_role("button", name="Recompute these examples").click()
    page.wait_for_selector("[data-testid=stDataFrame]")
    accessible()
