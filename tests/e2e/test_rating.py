"""Rating a study, in a browser: by keys to the end, through a killed server, and what is in the way."""

import os
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Browser, Page, expect

from dashboard.studies.storage.store import StudyStore

pytestmark = pytest.mark.browser
Study = tuple[StudyStore, str]


@pytest.fixture(scope="module")
def shown_models(two_models: Path) -> Path:
    return two_models


def begin(page: Page, server: str, study: str, rater: str) -> None:
    """To the first card, by the rater's name and the instruction, with the keyboard alone."""
    page.goto(f"{server}/rate?study={study}")
    name = page.get_by_role("textbox", name="Your name, to save your ratings")
    name.fill(rater)
    name.press("Enter")
    expect(page.get_by_text("80% or more of the strongest firings")).to_be_visible()
    expect(page.get_by_role("button", name="Continue")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(".snippet").first).to_be_visible()


def at_card(page: Page, number: int, total: int) -> None:
    """Wait for a card, and until a key is no second press of the last one."""
    expect(page.locator(".count")).to_have_text(f"{number} of {total}")
    expect(page.locator(".snippet").first).to_be_visible()
    page.wait_for_timeout(450)


def card_text(page: Page) -> str:
    return "\n".join(page.locator(".snippet .text").all_text_contents())


@pytest.mark.parametrize("accessible", ["both"], indirect=True)
def test_a_study_is_rated_to_the_end_by_keys(
    server: str, page: Page, accessible: Callable[[], None], make_study: Callable[..., Study]
) -> None:
    store, study = make_study()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    begin(page, server, study, "ann")
    assert page.title() == "Rate"
    expect(page.locator(".snippet")).to_have_count(4)
    expect(page.locator(".snippet .peak")).to_have_count(4)
    accessible()
    at_card(page, 1, 7)

    # Letters in the rule are no keys; the rule and the confidence go with the verdict.
    first = card_text(page)
    page.keyboard.press("/")
    page.keyboard.type("in, up or n? 123")
    expect(page.locator(".count")).to_have_text("1 of 7")
    page.keyboard.press("Enter")
    page.keyboard.press("3")
    expect(page.get_by_role("button", name="certain")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("i")
    page.keyboard.press("i")  # a double press is one rating
    at_card(page, 2, 7)
    [kept] = store.ratings(study)
    assert (kept.rule, kept.confidence, kept.verdict) == ("in, up or n? 123", 3, "interpretable")
    expect(page.locator("textarea")).to_have_value("")

    # Taken back, it is there again with what was said of it.
    second = card_text(page)
    page.keyboard.press("u")
    at_card(page, 1, 7)
    assert (card_text(page), store.ratings(study)) == (first, [])
    expect(page.locator("textarea")).to_have_value("in, up or n? 123")
    page.keyboard.press("n")
    at_card(page, 2, 7)
    assert card_text(page) == second

    # A pause hides the card and stops the time; a verdict needs the card; the instruction is under ?.
    page.keyboard.press("p")
    expect(page.get_by_role("heading", name="Paused")).to_be_visible()
    expect(page.locator(".snippet").first).to_be_hidden()
    stood = page.locator(".time").inner_text()
    page.keyboard.press("n")
    page.wait_for_timeout(1_500)
    expect(page.locator(".time")).to_have_text(stood)
    page.keyboard.press("p")
    at_card(page, 2, 7)
    page.keyboard.press("?")
    expect(page.get_by_role("heading", name="Your task")).to_be_visible()
    page.keyboard.press("?")
    at_card(page, 2, 7)
    asked.clear()
    page.locator(".active").first.hover()
    page.locator(".verdict").first.hover()
    page.reload()  # goes on at once: the same card, and its time
    at_card(page, 2, 7)
    assert card_text(page) == second
    assert [url for url in asked if "/api/" in url] == [f"{server}/api/rating"]  # the reload's; no hover's

    verdicts = ["not"]
    for number in range(2, 8):
        at_card(page, number, 7)
        verdicts.append("interpretable" if number % 3 else "not")
        name = "INTERPRETABLE I" if number % 3 else "NOT INTERPRETABLE N"
        page.get_by_role("button", name=name, exact=True).click()
    expect(page.get_by_role("heading", name="All rated, thank you")).to_be_visible()
    expect(page.get_by_text(re.compile(r"Your 7 ratings took \d+:\d\d"))).to_be_visible()
    assert [r.verdict for r in store.ratings(study)] == verdicts
    assert store.ratings(study)[1].hidden_seconds > 1.5
    assert all(0 < r.seconds < 60 for r in store.ratings(study))


def test_a_killed_server_loses_no_rating(
    served: Callable[[], AbstractContextManager[str]],
    page: Page,
    browser: Browser,
    make_study: Callable[..., Study],
) -> None:
    store, study = make_study()
    with served() as address:
        begin(page, address, study, "bob")
        at_card(page, 1, 7)
        page.keyboard.press("i")
        at_card(page, 2, 7)
        kill(address)
        page.keyboard.press("n")
        expect(page.get_by_text("kept in this tab and sent when the server responds")).to_be_visible()
        expect(page.locator(".count")).to_have_text("2 of 7")  # not shown before it is acknowledged
        assert len(store.ratings(study)) == 1
    with served() as address:
        expect(page.locator(".count")).to_have_text("3 of 7")
        assert [r.verdict for r in store.ratings(study)] == ["interpretable", "not"]
        kill(address)
        page.wait_for_timeout(450)
        page.keyboard.press("i")
        expect(page.get_by_text("kept in this tab and sent when the server responds")).to_be_visible()
        assert len(store.ratings(study)) == 2
    with served() as address:
        expect(page.locator(".count")).to_have_text("4 of 7")
        third = card_text(page)
        elsewhere = browser.new_context()  # a browser that was closed, with nothing but the name
        elsewhere.add_cookies([{"name": "solu_user", "value": "bob", "url": address}])
        again = elsewhere.new_page()
        again.goto(f"{address}/rate?study={study}")
        expect(again.get_by_text("You have rated 3 of 7")).to_be_visible()
        again.keyboard.press("Enter")
        at_card(again, 4, 7)
        assert card_text(again) == third
        elsewhere.close()


def kill(address: str) -> None:
    """SIGKILL to the server of an address."""
    port = address.rpartition(":")[2]
    [server] = [p for p in psutil.Process(os.getpid()).children() if port in p.cmdline()]
    server.kill()


def test_what_cannot_be_rated_says_what_to_do(
    server: str, page: Page, make_study: Callable[..., Study]
) -> None:
    page.goto(f"{server}/rate?study=<b>no</b>")
    expect(page.get_by_text("This study cannot be rated")).to_be_visible()
    expect(page.get_by_text("there is no study '<b>no</b>' here")).to_be_visible()
    page.goto(f"{server}/rate")
    expect(page.get_by_text("This study cannot be rated")).to_be_visible()

    store, study = make_study()
    begin(page, server, study, "cleo")
    at_card(page, 1, 7)
    store.unblind(study, "cleo")
    page.keyboard.press("i")
    expect(page.get_by_text("is closed: it was unblinded")).to_be_visible()
    page.reload()
    expect(page.get_by_text("This study is closed")).to_be_visible()
