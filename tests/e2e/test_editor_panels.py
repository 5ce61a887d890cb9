"""What stands beside the editor, in a browser: variants, single edits, neurons, output, code, links."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module", autouse=True)
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the server keeps texts."""
    folder = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "SOLU_DATA", str(folder))
        yield folder


@pytest.fixture(scope="module")
def tiny_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tiny model that a test can damage."""
    return Path(shutil.copytree(tiny_model, tmp_path_factory.mktemp("own") / "tiny"))


def opened(page: Page, server: str, rest: str = "") -> Locator:
    page.goto(f"{server}/editor?model=tiny&layer=0&neuron=5&hook=hook_mid{rest}")
    area = page.locator("textarea")
    expect(area).to_be_visible()
    page.wait_for_selector(".layer[data-read]", state="attached")
    return area


def typed(page: Page, text: str) -> None:
    """At the end of what is there; waits for its colours."""
    area = page.locator("textarea")
    area.click()
    page.keyboard.press("Control+End")
    page.keyboard.insert_text(text)
    length = area.evaluate("e => e.value.length")
    expect(page.locator(".layer")).to_have_attribute("data-read", str(length))


def choose_row(page: Page, row: int) -> None:
    """A row of the table, which is a canvas, by its box."""
    table = page.get_by_test_id("stDataFrame")
    expect(table).to_be_visible()
    page.wait_for_timeout(1000)
    box = table.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + 18, box["y"] + 48 + 31 * row)


def peak(page: Page) -> float:
    return float(page.locator(".readout .peak").get_attribute("data-peak") or "nan")


def test_saved_texts_are_a_table_and_a_plot_and_come_back(server: str, page: Page) -> None:
    area = opened(page, server, "&example=top-0")
    original = area.input_value()
    typed(page, " and on")
    page.get_by_role("button", name="Save this text").click()
    expect(page.locator(".js-plotly-plot")).to_be_visible()
    expect(page.get_by_test_id("stDataFrame")).to_be_visible()
    typed(page, " further")
    page.get_by_role("button", name="Save this text").click()
    expect(page.locator(".js-plotly-plot .point")).to_have_count(3)
    expect(area).to_have_value(original + " and on further")
    choose_row(page, 1)
    page.get_by_role("button", name="Open the selected text in the editor").click()
    expect(area).to_have_value(original + " and on")
    page.keyboard.press("Control+z")
    expect(area).to_have_value(original + " and on further")


def test_every_token_is_tried_and_an_edit_made(server: str, page: Page) -> None:
    area = opened(page, server)
    typed(page, "The lamp was lit at 8")
    before = page.locator(".readout .peak").get_attribute("data-peak") or ""
    page.get_by_role("radio", name="Single edits").click()
    page.get_by_role("button", name="Try every token").click()
    choose_row(page, 0)
    page.get_by_role("button", name="Make the selected edit").click()
    expect(area).not_to_have_value("The lamp was lit at 8")
    expect(page.get_by_text("tried on an earlier text")).to_be_visible()
    expect(page.locator(".readout .peak")).not_to_have_attribute("data-peak", before)
    area.click()
    page.keyboard.press("Control+z")
    expect(area).to_have_value("The lamp was lit at 8")


def test_a_click_on_a_token_finds_neurons_and_one_is_pinned(server: str, page: Page) -> None:
    opened(page, server)
    typed(page, "The lamp was lit")
    page.get_by_role("radio", name="Neurons").click()
    expect(page.get_by_text("nearest to their own maximum")).to_be_visible()  # the layout is final
    token = page.locator(".layer .tok").nth(1)
    box = token.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(page.locator(".layer .at")).to_have_count(1)
    expect(token).to_have_class(re.compile(r"\bat\b"))
    expect(page.get_by_text("token 2 of the text. Click another token")).to_be_visible()
    link = page.get_by_role("link", name=re.compile(r"layer 0 · neuron \d+")).first
    name = " ".join(link.inner_text().split())
    page.get_by_role("button", name="Pin", exact=True).nth(1).click()
    expect(page.locator(".pinned .label")).to_have_text([name])
    expect(page.locator(".pinned .text")).to_have_text("The lamp was lit")
    typed(page, "!")
    expect(page.locator(".pinned .text")).to_have_text("The lamp was lit!")
    page.get_by_role("button", name="Unpin").first.click()
    expect(page.locator(".pinned .label")).to_have_count(0)
    name = " ".join(link.inner_text().split())  # the caret has moved on to another token
    link.click()
    expect(page.get_by_role("heading", name=re.compile(f"^{name}$", re.IGNORECASE))).to_be_visible()


def test_the_next_token_and_a_continuation(server: str, page: Page) -> None:
    opened(page, server)
    typed(page, "The")
    page.get_by_role("radio", name="Output").click()
    expect(page.get_by_text("The caret chooses the token")).to_be_visible()
    expect(page.get_by_test_id("stDataFrame")).to_be_visible()
    page.get_by_role("button", name="Continue the text").click()
    expect(page.get_by_test_id("stCode")).to_have_count(2)
    typed(page, " lamp")
    expect(page.get_by_text("continue an earlier text")).to_be_visible()


def test_the_code_holds_the_text(server: str, page: Page) -> None:
    opened(page, server)
    page.get_by_role("radio", name="Code").click()
    typed(page, "a 'quoted' \\ text")
    expect(page.get_by_test_id("stCode")).to_contain_text(repr("a 'quoted' \\ text"))


def test_a_link_restores_text_model_and_neuron(server: str, page: Page) -> None:
    area = opened(page, server, "&example=top-0")
    typed(page, " שלום 🙂\tend")
    text = area.input_value()
    page.get_by_role("button", name="Link").click()
    expect(page).to_have_url(re.compile("text=[0-9a-f]{16}"))
    assert "example" not in page.url
    expect(area).to_have_value(text)
    other = page.context.new_page()
    other.goto(page.url)
    expect(other.locator("textarea")).to_have_value(text, timeout=60_000)
    expect(other.locator(".original")).to_be_visible()
    expect(other.get_by_label("Neuron, 0 to 47")).to_have_value("5")


def test_another_neuron_reads_the_same_text_in_the_same_editor(server: str, page: Page) -> None:
    area = opened(page, server)
    area.evaluate("e => { e.mark = 'the same' }")
    typed(page, "The lamp was lit")
    before = peak(page)
    page.get_by_role("radio", name="after LayerNorm").click()
    expect(page.locator(".legend")).to_contain_text("hook_post")
    for panel in ("Output", "Variants", "Code", "Single edits", "Variants"):
        page.get_by_role("radio", name=panel).click()
        typed(page, "!")
    expect(area).to_have_value("The lamp was lit!!!!!")
    assert area.evaluate("e => e.mark") == "the same"
    assert peak(page) != before


def test_the_text_is_there_when_one_comes_back(server: str, page: Page) -> None:
    opened(page, server)
    typed(page, "The lamp was lit")
    page.get_by_role("link", name="Models").click()
    expect(page.get_by_text("Neurons cached over").first).to_be_visible()
    page.get_by_role("link", name="Editor").click()
    expect(page.locator("textarea")).to_have_value("The lamp was lit")
    typed(page, " again")
    expect(page.locator("textarea")).to_have_value("The lamp was lit again")


def test_a_model_replaced_while_one_types(server: str, page: Page, tiny_model: Path) -> None:
    area = opened(page, server)
    typed(page, "The lamp")
    weights = tiny_model / "model.safetensors"
    right = weights.read_bytes()
    try:
        weights.write_bytes(right[: len(right) // 2])
        area.click()
        page.keyboard.type(" was lit", delay=30)
        expect(page.locator(".notes")).to_contain_text("Your text is kept")
        expect(page.locator(".notes")).to_contain_text("built from another checkpoint")
        expect(area).to_have_value("The lamp was lit")
    finally:
        weights.write_bytes(right)
    typed(page, " again")
    expect(area).to_have_value("The lamp was lit again")
    expect(page.locator(".notes")).to_have_text("")
    expect(page.locator(".readout .peak")).to_be_visible()
