"""The neuron page by hand: keys, two neurons beside each other, what an example offers, the first visit."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from cache.reader import NeuronCache

pytestmark = pytest.mark.browser


def open_neuron(page: Page, server: str, neuron: int, more: str = "") -> None:
    page.goto(f"{server}/?model=tiny&layer=0&neuron={neuron}{more}")
    expect(page.get_by_role("heading", name=f"Layer 0 · neuron {neuron}")).to_be_visible()
    page.wait_for_selector(".example")


def test_keys_choose_views_panels_and_hook(server: str, page: Page) -> None:
    open_neuron(page, server, 5)
    page.keyboard.press("2")
    expect(page).to_have_url(re.compile("view=ranges"))
    expect(page.locator(".group").first).to_be_visible()
    page.keyboard.press("5")
    expect(page).to_have_url(re.compile("panel=tokens"))
    page.keyboard.press("h")
    expect(page.locator(".legend")).to_contain_text("hook_post")
    page.get_by_role("spinbutton", name=re.compile("^Neuron")).click()
    page.keyboard.press("1")  # typed into the field: no view
    page.keyboard.press("Escape")
    expect(page).to_have_url(re.compile("view=ranges"))


def test_a_question_mark_lists_the_keys(server: str, page: Page) -> None:
    open_neuron(page, server, 5)
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("next and previous example")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(page.get_by_role("heading", name="Layer 0 · neuron 5")).to_be_visible()


def test_j_and_k_walk_the_examples(server: str, page: Page) -> None:
    open_neuron(page, server, 5)
    focused = "e => e.matches(':focus') && e.dataset.k"
    page.keyboard.press("j")
    page.keyboard.press("j")
    assert page.locator(".list .text").nth(1).evaluate(focused) == "1"
    page.keyboard.press("k")
    assert page.locator(".list .text").nth(0).evaluate(focused) == "0"


def test_an_example_opens_to_all_that_is_kept(server: str, page: Page) -> None:
    open_neuron(page, server, 5)
    page.get_by_role("button", name="short", exact=True).click()
    k = page.locator(".list .text").evaluate_all("all => all.findIndex(e => e.querySelector('.far'))")
    item = page.locator(".example").nth(k)
    item.hover()
    item.get_by_role("button", name=re.compile("Show all")).click()
    assert item.locator(".far").evaluate_all("all => all.every(e => e.offsetParent !== null)")
    assert page.locator(".example:not(.expanded) .far:visible").count() == 0
    item.get_by_role("button", name=re.compile("Show all")).click()
    assert item.locator(".far:visible").count() == 0


def test_examples_lead_to_the_editor(server: str, page: Page, tiny_model: Path) -> None:
    open_neuron(page, server, 5, "&view=ranges")
    interval = len(NeuronCache.open(tiny_model / "neurons").neuron(0, 5).ranges("hook_mid")) - 1
    page.locator(".example").first.hover()
    link = page.get_by_role("link", name="Edit the text of example 1", exact=True)
    query = f"model=tiny&layer=0&neuron=5&hook=hook_mid&example=range-{interval}-0"
    assert link.get_attribute("href") == f"editor?{query}"
    link.click()
    expect(page).to_have_url(re.compile("/editor.*example=range-"))


def test_only_neurons_that_are_there_are_offered_for_comparison(server: str, page: Page) -> None:
    open_neuron(page, server, 5)
    page.get_by_role("button", name="Compare").click()
    field = page.get_by_role("dialog").get_by_role("spinbutton", name="Neuron, 0 to 47")
    field.fill("48")
    field.press("Enter")
    expect(field).to_have_attribute("aria-invalid", "true")
    field.fill("9")
    field.press("Enter")
    page.get_by_role("button", name="Put it beside").click()
    expect(page).to_have_url(re.compile("beside=tiny/0/9|beside=tiny%2F0%2F9"))


def test_two_neurons_beside_each_other(server: str, page: Page) -> None:
    open_neuron(page, server, 5)
    page.get_by_role("button", name="Compare").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("spinbutton", name="Neuron").fill("9")
    dialog.get_by_role("spinbutton", name="Neuron").press("Enter")
    dialog.get_by_role("button", name="Put it beside").click()
    expect(page.get_by_role("heading", name="Layer 0 · neuron 9")).to_be_visible()
    expect(page).to_have_url(re.compile("beside=tiny%2F0%2F9"))
    expect(page.locator(".list")).to_have_count(2)
    expect(page.locator("svg .over")).to_have_count(2)  # the second over the first, at both hooks
    expect(page.get_by_text("outline: layer 0, neuron 9 of tiny")).to_be_visible()
    left = page.locator(".list").first.locator(".text")
    left.nth(2).focus()
    page.keyboard.press("j")
    assert left.nth(3).evaluate("e => e.matches(':focus')")  # the list with the focus answers, not the other
    page.get_by_role("button", name="Swap").click()
    expect(page).to_have_url(re.compile("neuron=9.*beside=tiny%2F0%2F5"))
    page.reload()
    expect(page.get_by_role("heading", name="Layer 0 · neuron 5")).to_be_visible()
    page.locator(".st-key-close_beside button").click()
    expect(page.locator(".list")).to_have_count(1)
    expect(page).not_to_have_url(re.compile("beside"))


@pytest.mark.parametrize("beside", ["nonsense", "gone/0/1", "tiny/0/999"])
def test_a_bad_neighbour_gets_a_message(server: str, page: Page, beside: str) -> None:
    page.goto(f"{server}/?model=tiny&neuron=5&beside={beside}")
    expect(page.get_by_role("alert")).to_contain_text(
        re.compile("MODEL/LAYER/NEURON|expected one of|neurons 0 to")
    )


def test_the_tour_is_taken_once(server: str, page: Page) -> None:
    open_neuron(page, server, 5)
    tour = page.get_by_role("complementary", name="A short tour")
    expect(tour).to_contain_text("1 of 4")
    for step in (2, 3, 4):
        tour.get_by_role("button", name="Next").click()
        expect(tour).to_contain_text(f"{step} of 4")
    tour.get_by_role("button", name="Done").click()
    expect(tour).to_be_hidden()
    page.reload()
    page.wait_for_selector(".example")
    expect(tour).to_be_hidden()
