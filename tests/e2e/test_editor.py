"""The editor in a browser: typing, pasting, the original, long texts, bad input."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from cache.reader import NeuronCache
from dashboard.editor.edited_text import MAX_TEXT
from solu_model.loading.checkpoints import load_with_tokenizer
from solu_model.text.tokenizer import encode_texts

pytestmark = pytest.mark.browser
ODD = "naïve שלום عليكم 漢字 🙂 👩‍👩‍👧 é\ttab\n\n  two spaces"


@pytest.fixture(scope="module", autouse=True)
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the server keeps texts."""
    folder = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "SOLU_DATA", str(folder))
        yield folder


def opened(page: Page, server: str, rest: str = "") -> None:
    page.goto(f"{server}/editor?model=tiny&layer=0&neuron=5&hook=hook_mid{rest}")
    expect(page.locator("textarea")).to_be_visible()
    page.wait_for_selector(".layer[data-read]", state="attached")


def settled(page: Page, text: str) -> None:
    """The colours are those of the text."""
    expect(page.locator("textarea")).to_have_value(text)
    length = len(text.encode("utf-16-le")) // 2
    expect(page.locator(".layer")).to_have_attribute("data-read", str(length))


def typed(page: Page, text: str) -> None:
    page.locator("textarea").click()
    page.keyboard.press("Control+End")
    page.keyboard.insert_text(text)


def peak(page: Page) -> float:
    return float(page.locator(".readout .peak").get_attribute("data-peak") or "nan")


def values(tiny_model: Path, text: str, last: bool = False) -> list[float]:
    """The neuron's activations by the definition: one forward pass with everything in it."""
    import torch

    model, tokenizer = load_with_tokenizer(tiny_model)
    tokens = encode_texts(tokenizer, [text])[0]
    tokens = tokens[-31:] if last else tokens[:31]
    _, taken = model.run_with_cache(torch.tensor([[0, *tokens]]), ["blocks.0.mlp.hook_mid"])
    found: list[float] = taken["blocks.0.mlp.hook_mid"][0, 1:, 5].tolist()
    return found


def first_example(tiny_model: Path) -> str:
    cache = NeuronCache.open(tiny_model / "neurons")
    tokens = cache.neuron(0, 5).top("hook_mid")[0].tokens
    return b"".join(cache.vocabulary.token_bytes[t] for t in tokens).decode(errors="replace")


def test_colours_follow_every_key_in_one_mount(server: str, page: Page, tiny_model: Path) -> None:
    opened(page, server)
    area = page.locator("textarea")
    area.evaluate("e => { e.mark = 'the same' }")
    area.click()
    text = "The lamp was lit, def f(x): 1,024"
    area.press_sequentially(text, delay=30)
    settled(page, text)
    assert area.evaluate("e => e.mark") == "the same"
    spans = page.locator(".layer .tok").all_text_contents()
    assert len(spans) > 5
    assert "".join(spans) == text[: len("".join(spans))]
    assert peak(page) == pytest.approx(max(values(tiny_model, text)), rel=1e-6)
    page.keyboard.press("Home")
    area.press_sequentially("x = ", delay=30)
    settled(page, "x = " + text)
    assert peak(page) == pytest.approx(max(values(tiny_model, "x = " + text)), rel=1e-6)


def test_every_value_is_that_of_the_model(server: str, page: Page, tiny_model: Path) -> None:
    opened(page, server)
    text = "The lamp was lit"
    typed(page, text)
    settled(page, text)
    expected = values(tiny_model, text)
    for i, span in enumerate(page.locator(".layer .tok").all()):
        box = span.bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        shown = page.get_by_role("tooltip").locator("dd").first
        expect(shown).to_be_visible()
        assert float(shown.inner_text()) == pytest.approx(expected[i], rel=2e-3, abs=1e-6)


def test_the_caret_reads_out_its_token(server: str, page: Page) -> None:
    opened(page, server)
    typed(page, "The lamp")
    settled(page, "The lamp")
    page.keyboard.press("Home")
    expect(page.locator(".readout .word")).to_have_text(page.locator(".layer .tok").first.inner_text())
    expect(page.locator(".readout")).to_contain_text("before LayerNorm")
    expect(page.locator(".readout")).to_contain_text("after LayerNorm")


def test_alphabets_emoji_tabs_and_undo_survive(server: str, page: Page) -> None:
    opened(page, server)
    typed(page, "one")
    settled(page, "one")
    typed(page, ODD)
    settled(page, "one" + ODD)
    page.keyboard.press("Control+z")
    settled(page, "one")
    page.keyboard.press("Control+Shift+z")
    settled(page, "one" + ODD)


def test_composition_is_left_alone(server: str, page: Page) -> None:
    opened(page, server)
    typed(page, "a ")
    settled(page, "a ")
    session = page.context.new_cdp_session(page)
    for part in ("k", "ka", "かn", "かん"):
        session.send("Input.imeSetComposition", {"text": part, "selectionStart": 2, "selectionEnd": 2})
        page.wait_for_timeout(150)
    session.send("Input.insertText", {"text": "漢"})
    settled(page, "a 漢")


def paste(page: Page, server: str, text: str) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=server)
    page.evaluate("text => navigator.clipboard.writeText(text)", text)
    page.locator("textarea").click()
    page.keyboard.press("Control+v")


def test_a_hundred_kilobytes_are_pasted_and_typed_into(server: str, page: Page) -> None:
    opened(page, server)
    text = ("The lamp was lit — 漢字 🙂.\n" * 5000)[:100_000]
    paste(page, server, text)
    settled(page, text)
    expect(page.locator(".notes")).to_contain_text("The model reads 31 of")
    page.keyboard.press("Control+Home")
    page.keyboard.type("Now ", delay=30)
    settled(page, "Now " + text)


def test_ten_megabytes_are_cut_and_it_is_said(server: str, page: Page) -> None:
    opened(page, server)
    typed(page, "before ")
    paste(page, server, "0123456789" * 1_000_000)
    expect(page.locator(".notes")).to_contain_text(f"The editor holds {MAX_TEXT:,} characters")
    expect(page.locator(".notes")).to_contain_text(
        f"the last {10_000_000 - MAX_TEXT + 7:,} of the paste were left out"
    )
    assert page.locator("textarea").evaluate("e => e.value.length") == MAX_TEXT
    page.keyboard.press("Control+z")
    expect(page.locator("textarea")).to_have_value("before ")
    typed(page, "after")
    settled(page, "before after")


def test_text_beyond_the_context_is_shaded(server: str, page: Page, tiny_model: Path) -> None:
    opened(page, server)
    text = "".join(f"{n} lamps. " for n in range(40))
    typed(page, text)
    settled(page, text)
    expect(page.locator(".notes")).to_contain_text("its context holds 32")
    assert peak(page) == pytest.approx(max(values(tiny_model, text)), rel=1e-6)
    beyond = page.locator(".layer .beyond")
    expect(beyond).to_have_count(1)
    assert text.endswith(beyond.text_content() or "?")
    page.get_by_role("button", name="the last tokens").click()
    expect(page.get_by_role("button", name="the last tokens")).to_have_attribute("aria-pressed", "true")
    expect(page.locator(".layer > :first-child")).to_have_class("beyond")
    assert peak(page) == pytest.approx(max(values(tiny_model, text, last=True)), rel=1e-6)


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script><img src=x onerror=alert(2)>",
        "${alert(1)} {{7*7}} [x](javascript:alert(1)) **b** :red[x] $x^2$ `c`",
        "bell\x07 nul\x00 esc\x1b[31m \u202eabc\u200b\ufeff",
    ],
)
def test_hostile_text_is_text(server: str, page: Page, text: str) -> None:
    opened(page, server)
    page.locator("textarea").click()
    page.locator("textarea").evaluate(
        "(e, t) => { e.focus(); document.execCommand('insertText', false, t) }", text
    )
    kept = page.locator("textarea").input_value()
    assert kept == text.replace("\x00", "") or kept == text
    settled(page, kept)
    page.get_by_role("button", name="Save this text").click()
    page.locator("textarea").click()
    page.keyboard.type("!")
    for panel in ("Single edits", "Neurons", "Output", "Code"):
        page.get_by_role("radio", name=panel).click()
        page.wait_for_timeout(500)
    assert page.locator(".editor script, .editor img, .editor a").count() == 0
    assert page.get_by_role("alert").count() == 0


def test_half_a_character_does_no_harm(server: str, page: Page) -> None:
    opened(page, server)
    page.locator("textarea").evaluate(
        "e => { e.focus(); e.value = 'a\\ud800b'; e.dispatchEvent(new Event('input', { bubbles: true })) }"
    )
    expect(page.locator(".layer")).to_have_attribute("data-read", "3")
    assert page.locator("textarea").evaluate("e => e.value.charCodeAt(1)") == 0xD800
    assert page.get_by_role("alert").count() == 0


def test_the_original_stays_with_the_difference(server: str, page: Page, tiny_model: Path) -> None:
    opened(page, server, "&example=top-0")
    text = first_example(tiny_model)
    expect(page.locator("textarea")).to_have_value(text)
    original = page.locator(".original .text")
    expect(original).to_have_text(text, use_inner_text=False)
    expect(page.locator(".original")).to_contain_text("strongest example 1")
    assert page.locator(".original .gone").count() == 0
    page.locator("textarea").click()
    page.keyboard.press("Control+Home")
    page.keyboard.press("Delete")
    settled(page, text[1:])
    assert original.text_content() == text
    expect(page.locator(".original .gone").first).to_be_attached()
    page.get_by_role("button", name="change since").click()
    original.focus()
    page.keyboard.press("ArrowRight")
    tip = page.get_by_role("tooltip")
    expect(tip).to_contain_text("original")
    expect(tip).to_contain_text(re.compile("now"))


def test_the_editor_is_accessible(server: str, page: Page, accessible: Callable[[], None]) -> None:
    opened(page, server, "&example=top-0")
    typed(page, " and on " * 20)
    for panel in ("Variants", "Single edits", "Neurons", "Output", "Code"):
        page.get_by_role("radio", name=panel).click()
        expect(page.get_by_role("radio", name=panel)).to_be_checked()
        if panel == "Variants":
            page.get_by_role("button", name="Save this text").click()
        page.wait_for_timeout(700)
        accessible()
