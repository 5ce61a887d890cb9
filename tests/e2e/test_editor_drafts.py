"""What was typed outlives a reload, a visit to another page and a new start of the server, in a browser."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

pytestmark = pytest.mark.browser
Served = Callable[[], AbstractContextManager[str]]


@pytest.fixture(scope="module", autouse=True)
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the server keeps texts."""
    folder = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "SOLU_DATA", str(folder))
        yield folder


def opened(page: Page, url: str) -> Locator:
    page.goto(url)
    return drawn(page)


def drawn(page: Page) -> Locator:
    area = page.locator("textarea")
    expect(area).to_be_visible()
    page.wait_for_selector(".layer[data-read]", state="attached")
    return area


def example_opened(page: Page, neuron: str) -> None:
    """The strongest example of a neuron's page, by its link."""
    page.goto(neuron)
    page.locator(".example").first.hover()
    page.get_by_role("link", name="Edit the text of example 1", exact=True).click()


def typed(page: Page, text: str) -> None:
    page.locator("textarea").click()
    page.keyboard.press("Control+End")
    page.keyboard.insert_text(text)


def settled(page: Page, text: str) -> None:
    """The text is there and the colours are its own."""
    expect(page.locator("textarea")).to_have_value(text)
    length = len(text.encode("utf-16-le")) // 2
    expect(page.locator(".layer")).to_have_attribute("data-read", str(length))


def test_a_draft_is_there_after_a_reload_and_can_be_undone(server: str, page: Page) -> None:
    # All that the page would add: an address that it completes is one more step back, when it gets there.
    neuron = f"{server}/?model=tiny&layer=0&neuron=5&hook=hook_mid&view=top&panel=numbers"
    address = f"{server}/editor?model=tiny&layer=0&neuron=5&hook=hook_mid"
    example_opened(page, neuron)
    area = drawn(page)
    original = area.input_value()
    assert original
    typed(page, " שלום 🙂\tdraft")
    text = original + " שלום 🙂\tdraft"
    page.reload()  # at once: the page was not told yet
    drawn(page)
    settled(page, text)
    expect(page.locator(".original .text")).to_have_text(original, use_inner_text=False)
    page.get_by_role("radio", name="Code").click()
    expect(page.get_by_test_id("stCode")).to_contain_text("draft")  # the page knows it too
    area.click()
    page.keyboard.press("Control+z")
    settled(page, original)
    typed(page, " again")
    page.goto(neuron)
    page.go_back()
    drawn(page)
    settled(page, original + " again")
    # Opened anew it is the example as it was, and another address opens its own text.
    example_opened(page, neuron)
    drawn(page)
    settled(page, original)
    typed(page, " of one tab alone")
    other = page.context.new_page()
    opened(other, address)
    settled(other, "")
    typed(other, "another")
    other.get_by_role("link", name="Models").click()  # before the page was told
    expect(other.get_by_text("Neurons cached over").first).to_be_visible()
    other.get_by_role("link", name="Editor").click()
    drawn(other)
    settled(other, "another")
    other.reload()
    drawn(other)
    settled(other, "another")


def test_a_new_start_of_the_server_loses_nothing(served: Served, page: Page) -> None:
    with served() as server:
        area = opened(page, f"{server}/editor?model=tiny&layer=0&neuron=5&hook=hook_mid&example=top-0")
        area.evaluate("e => { e.mark = 'the same' }")
        kept = area.input_value() + " kept"
        typed(page, " kept")
        page.get_by_role("button", name="Link").click()
        expect(page).to_have_url(re.compile("text=[0-9a-f]{16}"))
        link = page.url
        typed(page, " and on")
        settled(page, kept + " and on")
    area.press_sequentially(" alone", delay=30)
    expect(page.locator(".notes")).to_contain_text("The server does not respond. Your text is kept")
    expect(area).to_have_value(kept + " and on alone")
    with served():
        settled(page, kept + " and on alone")
        expect(page.locator(".notes")).not_to_contain_text("does not respond")
        assert area.evaluate("e => e.mark") == "the same"
        page.get_by_role("radio", name="Code").click()
        expect(page.get_by_test_id("stCode")).to_contain_text("and on alone")
        expect(area).to_have_value(kept + " and on alone")
        other = page.context.new_page()
        opened(other, link)
        settled(other, kept)
        expect(other.locator(".original")).to_be_visible()


def test_a_part_of_the_page_answers_after_a_new_start_of_the_server(served: Served, page: Page) -> None:
    streamlit = page.get_by_test_id("stApp")
    with served() as server:
        opened(page, f"{server}/editor?model=tiny&layer=0&neuron=5&hook=hook_mid&example=top-0")
        expect(page.get_by_text("Saved texts are listed here")).to_be_visible()
        # No part of the page ran last, but all of it.
        expect(streamlit).to_have_attribute("data-test-script-state", "notRunning")
    expect(streamlit).not_to_have_attribute("data-test-connection-state", "CONNECTED")
    with served():
        page.get_by_role("radio", name="Code").click()
        expect(page.get_by_test_id("stCode")).to_be_visible()
        typed(page, " and on")
        expect(page.get_by_test_id("stCode")).to_contain_text(" and on")
