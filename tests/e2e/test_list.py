"""The list of neurons as a person uses it: sort, filter, search, walk by keyboard, open, come back."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from cache.reader import NeuronCache
from dashboard.neurons.neuron_pages import page_of
from dashboard.shared.neuron_query import Query

pytestmark = pytest.mark.browser


def open_list(page: Page, server: str, query: str = "") -> None:
    page.goto(f"{server}/neurons?model=tiny{query}")
    page.wait_for_selector(".row")


def numbers(page: Page) -> list[int]:
    return [int(text) for text in page.locator(".row .open").all_inner_texts()]


def wanted(tiny_model: Path, query: Query) -> list[int]:
    return [row.neuron for row in page_of(tiny_model / "neurons", query).rows]


def test_a_column_sorts_both_ways_and_the_address_keeps_it(server: str, page: Page, tiny_model: Path) -> None:
    open_list(page, server)
    assert numbers(page) == wanted(tiny_model, Query("hook_mid", 0))
    page.get_by_role("button", name="max").click()
    expect(page.locator("thead .max")).to_have_attribute("aria-sort", "descending")
    assert numbers(page) == wanted(tiny_model, Query("hook_mid", 0, sort="max"))
    page.get_by_role("button", name="max").click()
    expect(page.locator("thead .max")).to_have_attribute("aria-sort", "ascending")
    expect(page).to_have_url(re.compile("sort=max"))
    page.reload()
    expect(page.locator("thead .max")).to_have_attribute("aria-sort", "ascending")
    assert numbers(page) == wanted(tiny_model, Query("hook_mid", 0, sort="max", descending=False))


def test_a_row_opens_and_the_list_is_found_again(server: str, page: Page) -> None:
    open_list(page, server, "&sort=max&dir=up&hook=hook_post")
    order = numbers(page)
    page.locator(".row").nth(3).click()
    expect(page.get_by_role("heading", name=f"Layer 0 · neuron {order[3]}", exact=True)).to_be_visible()
    expect(page).to_have_url(re.compile("hook=hook_post"))
    page.get_by_role("button", name="List").click()
    page.wait_for_selector(".row")
    expect(page).to_have_url(re.compile(r"/neurons\?.*sort=max.*dir=up"))
    assert numbers(page) == order


def test_a_row_is_a_link_for_a_tab_of_its_own(server: str, page: Page) -> None:
    open_list(page, server)
    link = page.locator(".row .open").first
    number = link.inner_text()
    with page.context.expect_page() as opened:
        link.click(modifiers=["ControlOrMeta"])
    other = opened.value
    expect(other.get_by_role("heading", name=f"Layer 0 · neuron {number}", exact=True)).to_be_visible()
    expect(page).to_have_url(re.compile("/neurons"))


def test_keys_walk_the_rows_and_enter_opens(server: str, page: Page) -> None:
    open_list(page, server)
    order = numbers(page)
    for key in ("j", "j", "ArrowDown", "k"):
        page.keyboard.press(key)
    expect(page.locator(".row .open").nth(1)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=f"Layer 0 · neuron {order[1]}", exact=True)).to_be_visible()


def test_a_question_mark_lists_the_keys(server: str, page: Page) -> None:
    open_list(page, server)
    page.get_by_label("Search for").click()
    page.keyboard.press("?")  # typed into the field
    expect(page.get_by_label("Search for")).to_have_value("?")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.get_by_label("Search for").fill("")
    page.get_by_label("Search for").blur()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("next and previous neuron")


def test_a_filter_narrows_and_is_cleared(server: str, page: Page) -> None:
    open_list(page, server, "&show=all")
    assert len(numbers(page)) == 48
    page.get_by_role("button", name="Filters").click()
    page.get_by_label("Excess kurtosis, from").fill("1000000")
    page.keyboard.press("Enter")
    expect(page.get_by_text("No neuron matches the search and the filters.")).to_be_visible()
    expect(page).to_have_url(re.compile("kurtosis=1000000"))
    page.keyboard.press("Escape")
    page.get_by_test_id("stMain").get_by_role("button", name="Clear the filters").last.click()
    expect(page.locator(".row").first).to_be_visible()


def test_a_token_finds_the_neurons_that_fire_on_it(server: str, page: Page, tiny_model: Path) -> None:
    cache = NeuronCache.open(tiny_model / "neurons")
    token = next(t for t in range(len(cache.vocabulary)) if cache.vocabulary.text(t) == " the")
    best = [neuron for neuron, _ in cache.neurons_for(token, 0, "hook_mid")]
    open_list(page, server, f"&q=%20the&token={token}&show=all")
    expect(page.locator("thead .match")).to_have_attribute("aria-sort", "descending")
    assert numbers(page) == best
    page.get_by_label("Search for").fill("zzzzz")
    expect(page.get_by_role("alert")).to_contain_text("no token of the vocabulary")


def test_an_expression_finds_neurons_by_their_peaks(server: str, page: Page) -> None:
    open_list(page, server, "&by=peaks&q=.")
    expect(page.locator(".row .match").first).to_have_text("100%")
    page.get_by_label("Search for").fill("(")
    expect(page.get_by_role("alert")).to_contain_text("missing")


def test_a_text_finds_neurons_and_says_on_which_token(server: str, page: Page) -> None:
    open_list(page, server, "&by=text&q=The%20lamp%20was%20lit")
    expect(page.locator("thead .match")).to_contain_text("share of maximum")
    expect(page.locator(".row .on").first).to_contain_text("on ")


@pytest.mark.parametrize("by", ["promotes", "suppresses"])
def test_a_token_finds_the_neurons_that_change_it(server: str, page: Page, by: str) -> None:
    open_list(page, server, f"&by={by}&q=a")
    shown = [float(text) for text in page.locator(".row .match").all_inner_texts()]
    assert shown == sorted(shown, reverse=by == "promotes")
    assert all(value > 0 if by == "promotes" else value < 0 for value in shown)


def test_the_rest_of_a_list_is_on_its_next_page(server: str, page: Page) -> None:
    page.goto(f"{server}/neurons?model=tiny&page=99")
    page.wait_for_selector(".row")
    expect(page.locator(".row .rank").first).to_have_text("1")  # 48 neurons are one page


def test_a_search_is_accessible(server: str, page: Page, accessible: Callable[[], None]) -> None:
    open_list(page, server, "&by=peaks&q=.&show=all")
    page.keyboard.press("j")
    accessible()
