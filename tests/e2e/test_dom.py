"""What `dom.js` writes is what Python writes: numbers, shares, and characters that cannot be seen."""

import json
import random
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from analysis.formatting import number, share, visible
from dashboard.shared.components.browser_files import script

pytestmark = pytest.mark.browser


@pytest.fixture
def dom(browser: Browser, tmp_path: Path) -> Iterator[Page]:
    """An empty page that has the functions of `dom.js` as `dom`."""
    (tmp_path / "own.js").write_text("globalThis.dom = { number, share, signed, visible, drawToken };")
    page = browser.new_page()
    page.add_script_tag(content=script(tmp_path, "own.js"))
    yield page
    page.close()


def values() -> list[float]:
    """Values of every size, and those on which rounding turns."""
    chance = random.Random(0)
    ties = [k * step for k, step in product(range(-500, 500), (1 / 8, 1 / 16, 1 / 1024, 125, 31_250))]
    powers = [sign * 10.0**k * factor for k, factor, sign in product(
        range(-12, 16), (1, 1 - 1.2e-16, 1 + 2.3e-16, 9.995, 9.9995), (1, -1))]  # fmt: skip
    spread = [chance.uniform(-1, 1) * 10.0 ** chance.randint(-8, 9) for _ in range(5_000)]
    return [0.0, -0.0, *ties, *powers, *spread]


def test_numbers_are_written_as_in_python(dom: Page) -> None:
    own = values()
    call = "all => all.map(v => [dom.number(v), dom.number(v, 4), dom.share(v)])"
    for value, written in zip(own, dom.evaluate(call, own), strict=True):
        assert written == [number(value), number(value, 4), share(value)], value


@pytest.mark.parametrize(
    ("code", "value"), [("NaN", float("nan")), ("Infinity", float("inf")), ("-Infinity", float("-inf"))]
)
def test_nan_and_infinity_are_written_as_in_python(dom: Page, code: str, value: float) -> None:
    written = dom.evaluate(f"[dom.number({code}), dom.number({code}, 4), dom.share({code})]")
    assert written == [number(value), number(value, 4), share(value)]


def test_a_sign_is_always_written_of_a_change(dom: Page) -> None:
    assert dom.evaluate("[dom.signed(0.5), dom.signed(-0.5), dom.signed(0)]") == ["+0.500", "-0.500", "0.00"]


def test_invisible_characters_are_marked_as_in_python(dom: Page) -> None:
    text = "".join(map(chr, [*range(0x500), *range(0x1FF0, 0x2100), 0xFEFF, 0x1F642])) + "👩‍👩‍👧 a\r\n\tb"
    assert dom.evaluate("t => dom.visible(t)", text) == visible(text)
    assert dom.evaluate("t => dom.visible(t, { spaces: false })", text) == visible(text, spaces=False)
    assert not set(visible(text)) & set(" \n\t\r\x00\x1b\x85\u200b\u202e\ufeff")


def test_a_drawn_token_keeps_its_blanks(dom: Page) -> None:
    """What is selected and copied is the text; a space has a mark only where the token is nothing else."""
    token = "t => { const node = dom.drawToken(t); return [node.textContent, node.innerHTML] }"
    text, html = dom.evaluate(token, "a b\tc")
    assert text == "a b\tc"
    assert html.count('data-mark="⇥"') == html.count("data-mark") == 1
    text, html = dom.evaluate(token, "  ")
    assert (text, html.count('data-mark="·"')) == ("  ", 2)
    text, html = dom.evaluate(token, "<b>\u202e")
    assert (text, "<b>" in html) == ("<b>\\u202e", False)
    assert json.dumps(dom.evaluate(token, "\n")[1]).count("<br>") == 1
