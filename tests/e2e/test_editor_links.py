"""From an example to the editor, in a browser: the list's snippets, the bundled model's whole contexts."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

import dashboard
from cache.reader import NeuronCache

pytestmark = pytest.mark.browser
BUNDLED = Path(dashboard.__file__).parent.parent / "models" / "solu-1l"


@pytest.fixture(scope="module", autouse=True)
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the server keeps texts."""
    folder = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "SOLU_DATA", str(folder))
        yield folder


def text_in_editor(page: Page) -> str:
    page.wait_for_selector(".layer[data-read]", state="attached")
    text = page.locator("textarea").input_value()
    length = len(text.encode("utf-16-le")) // 2
    expect(page.locator(".layer")).to_have_attribute("data-read", str(length))
    return text


def test_a_snippet_of_the_list_opens_in_the_editor(server: str, page: Page, tiny_model: Path) -> None:
    page.goto(f"{server}/neurons?model=tiny&hook=hook_mid")
    row = page.locator(".row").first
    row.hover()
    neuron = int(row.get_attribute("data-neuron") or -1)
    cache = NeuronCache.open(tiny_model / "neurons")
    examples = cache.neuron(0, neuron).top("hook_mid")
    link = row.get_by_role("link", name=f"Edit example 2 of neuron {neuron}")
    href = link.get_attribute("href") or ""
    link.click()
    expect(page).to_have_url(re.compile(rf"/editor\?.*neuron={neuron}\b.*example=top-1"))
    words = b"".join(cache.vocabulary.token_bytes[t] for t in examples[1].tokens).decode(errors="replace")
    assert text_in_editor(page) == words
    page.goto(f"{server}/{href}")  # as in a tab of its own
    assert text_in_editor(page) == words
    page.goto(f"{server}/neurons?model=tiny&hook=hook_mid")
    page.locator(".row .open").first.focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"/editor\?.*example=top-0"))


def test_a_whole_context_opens_in_the_editor_and_reaches_its_value(server: str, page: Page) -> None:
    cache = NeuronCache.open(BUNDLED / "neurons")
    example = cache.neuron(0, 5).top("hook_mid")[1]
    whole = cache.context(example)
    assert whole is not None
    page.goto(f"{server}/?model=solu-1l&layer=0&neuron=5&hook=hook_mid")
    page.locator(".example").nth(1).hover()
    page.get_by_role("button", name="Show the whole context of example 2").click()
    page.get_by_role("link", name="Edit this context").click()
    expect(page).to_have_url(
        re.compile(r"/editor\?.*example=top-1.*whole=1|/editor\?.*whole=1.*example=top-1")
    )
    text = text_in_editor(page)
    assert text == b"".join(cache.vocabulary.token_bytes[t] for t in whole).decode(errors="replace")
    peak = float(page.locator(".readout .peak").get_attribute("data-peak") or "nan")
    assert peak == pytest.approx(example.value, rel=1e-4)
    expect(page.locator(".layer .at")).to_be_in_viewport()
    expect(page.locator(".original .peak")).to_be_in_viewport()
    page.goto(f"{server}/editor?model=tiny&layer=0&neuron=5&hook=hook_mid&example=top-0&whole=1")
    expect(page.get_by_role("alert")).to_contain_text("keeps no whole context")
