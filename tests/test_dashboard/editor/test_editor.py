"""The editor without a browser: tokens, activations, stored texts, single edits, next tokens, code."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from streamlit.testing.v1 import AppTest

import dashboard
from cache.format.schema import CacheError
from dashboard.editor import text_store
from dashboard.editor.current_text import CurrentText, read_current_text
from dashboard.editor.edited_text import align_tokens, as_typed, replace_surrogates
from dashboard.editor.next_tokens import continuations, next_tokens
from dashboard.editor.occlusion import single_edits
from dashboard.editor.panels.code import python_code
from dashboard.editor.panels.variants import changed_part
from dashboard.editor.service import TextEnd, neuron_activations, tokenize
from dashboard.editor.text_store import StoredText, load_text, store_text
from dashboard.editor.token_neurons import nearest_to_maximum
from dashboard.editor.workspace import COMPONENT_KEY, SESSION_KEY, Workspace
from dashboard.shared import places, settings
from dashboard.shared.address import Address, AddressError
from dashboard.shared.example_name import ExampleName
from dashboard.shared.page_paths import EDITOR
from dashboard.shared.place import Place
from dashboard.shared.running.running_model import RunningModel, running_model_at
from solu_model.loading.checkpoints import load_with_tokenizer
from solu_model.model import SoluForCausalLM

ENTRY = Path(dashboard.__file__).with_name("pages.py")
TEXTS = [
    "The lamp was lit",
    "",
    "x",
    "naïve שלום 漢字 🙂 👩‍👩‍👧 é\ttab\n\n  two",
    "\x00\x07 <|BOS|> <script>",
    "a\ud800b",
]


@pytest.fixture
def place(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Neuron 5 of the tiny model, the only model."""
    monkeypatch.setattr(settings, "model_roots", lambda: [tiny_model])
    return places.find_place(Address(layer=0, neuron=5, hook="hook_mid"))


@pytest.fixture
def running(place: Place) -> RunningModel:
    return running_model_at(place)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for what people make."""
    monkeypatch.setenv("SOLU_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(text_store, "data_folder", lambda: tmp_path / "data")
    return tmp_path / "data"


def current_text(
    place: Place, text: str, chosen: int | None = None, text_end: TextEnd = "first"
) -> CurrentText:
    """A text in the editor, with one of its pieces chosen, by default the last."""
    current = read_current_text(place, Workspace("", text, text_end=text_end))
    return replace(current, chosen=len(current.tokens.pieces) - 1 if chosen is None else chosen)


@pytest.mark.parametrize("text", [t for t in TEXTS if t])
def test_values_are_those_of_run_with_cache_to_the_last_bit(
    place: Place, running: RunningModel, text: str
) -> None:
    tokens = tokenize(running, place.cache.vocabulary, text)
    names = {hook: f"blocks.0.mlp.{hook}" for hook in place.cache.hooks}
    with torch.inference_mode():
        _, taken = running.model.run_with_cache(torch.tensor([[0, *tokens.ids]]), names.values())
    for (layer, neuron), acts in zip(
        [(0, 5), (0, 47)],
        neuron_activations(running, tokens.ids, [(0, 5), (0, 47)], place.cache.hooks),
        strict=True,
    ):
        assert layer == 0
        for hook, name in names.items():
            np.testing.assert_array_equal(acts[hook], taken[name][0, 1:, neuron].numpy())


@pytest.mark.parametrize("text", TEXTS)
def test_pieces_are_the_text(place: Place, running: RunningModel, text: str) -> None:
    tokens = tokenize(running, place.cache.vocabulary, text)
    shown = replace_surrogates(text)
    units = shown.encode("utf-16-le")
    assert tokens.n_all >= len(tokens.ids)
    assert len(tokens.ids) <= 31
    at = 0
    for piece, end in zip(tokens.pieces, tokens.ends, strict=True):
        assert units[2 * at : 2 * end].decode("utf-16-le") == piece.text
        at = end
    if tokens.n_all == len(tokens.ids):
        assert 2 * at == len(units)
    assert len(units) // 2 == len(text.encode("utf-16-le", "surrogatepass")) // 2


@pytest.mark.parametrize("text_end", ["first", "last"])
@pytest.mark.parametrize("shift", range(6))
def test_a_long_text_is_cut_between_characters(
    place: Place, running: RunningModel, text_end: TextEnd, shift: int
) -> None:
    text = "x" * shift + "漢🙂é" * 40
    tokens = tokenize(running, place.cache.vocabulary, text, text_end)
    assert 31 - 3 <= len(tokens.ids) <= 31 < tokens.n_all
    read = "".join(piece.text for piece in tokens.pieces)
    assert "\ufffd" not in read
    assert text.startswith(read) if text_end == "first" else text.endswith(read)
    before = text[: len(text) - len(read)] if text_end == "last" else ""
    assert tokens.start == len(before.encode("utf-16-le")) // 2
    everything = running.encode(text)
    assert everything[tokens.first : tokens.first + len(tokens.ids)] == tokens.ids


def test_the_piece_at_a_caret_is_that_of_the_character_before(place: Place, running: RunningModel) -> None:
    tokens = tokenize(running, place.cache.vocabulary, "The 漢字 lamp")
    begins = [0, *tokens.ends[:-1]]
    for caret in range(tokens.ends[-1] + 1):
        expected = next(
            i for i, (a, b) in enumerate(zip(begins, tokens.ends, strict=True)) if a < max(caret, 1) <= b
        )
        assert tokens.piece_at(caret) == expected
    assert tokens.piece_at(99) is None
    assert tokenize(running, place.cache.vocabulary, "").piece_at(0) is None


def test_line_ends_become_those_of_a_text_field() -> None:
    assert as_typed("a\r\nb\rc\n") == "a\nb\nc\n"
    assert as_typed("\udc00x\ud83d") == "\ufffdx\ufffd"
    assert replace_surrogates("🙂") == "🙂"


@given(st.lists(st.integers(0, 3), max_size=12), st.lists(st.integers(0, 3), max_size=12))
def test_an_alignment_is_ascending_and_of_equal_tokens(original: list[int], edited: list[int]) -> None:
    matches = align_tokens(original, edited)
    assert len(matches) == len(edited)
    kept = [k for k in matches if k >= 0]
    assert kept == sorted(set(kept))
    assert all(original[k] == token for k, token in zip(matches, edited, strict=True) if k >= 0)
    assert align_tokens(original, original) == list(range(len(original)))


def test_one_changed_token_leaves_the_others() -> None:
    assert align_tokens([1, 2, 3, 4], [1, 9, 3, 4]) == [0, -1, 2, 3]
    assert align_tokens([1, 2, 3], [1, 3]) == [0, 2]
    assert align_tokens([1, 2], [0, 1, 2, 0]) == [-1, 0, 1, -1]


@pytest.mark.parametrize("text", ["top-0", "bottom-19", "range-2-0"])
def test_names_of_examples_come_back(text: str) -> None:
    assert str(ExampleName.parse(text)) == text


@pytest.mark.parametrize(
    "text", ["", "top", "top-", "top--1", "top-1.5", "range-1", "../x", "top-١", "top-99999", "<b>"]
)
def test_other_names_say_what_was_expected(text: str) -> None:
    with pytest.raises(AddressError, match="expected top-RANK"):
        ExampleName.parse(text)


def test_a_missing_example_is_an_error(place: Place) -> None:
    neuron = place.cache.neuron(0, 5)
    assert ExampleName.parse("top-0").of(neuron, "hook_mid").value == neuron.top("hook_mid")[0].value
    ranges = neuron.ranges("hook_mid")
    which = next(i for i, r in enumerate(ranges) if r.examples)
    assert ExampleName.parse(f"range-{which}-0").of(neuron, "hook_mid") is not None
    for name in ("top-500", "range-900-0"):
        with pytest.raises(CacheError, match="such examples"):
            ExampleName.parse(name).of(neuron, "hook_mid")


def test_a_stored_text_comes_back(data: Path) -> None:
    kept = StoredText("漢 \x00 🙂 </script>" * 10, "before")
    name = store_text(kept)
    assert load_text(name) == kept
    assert store_text(kept) == name
    assert store_text(StoredText("other")) != name


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "x" * 16, "A" * 16, "", "0" * 15, "0" * 17, "a/b", "\x00" * 16]
)
def test_no_other_file_is_reached(data: Path, name: str) -> None:
    with pytest.raises(AddressError, match="expected the name of a stored text"):
        load_text(name)


def test_a_missing_or_damaged_text_is_an_error(data: Path) -> None:
    with pytest.raises(AddressError, match="no text 0000"):
        load_text("0" * 16)
    name = store_text(StoredText("a"))
    (data / "texts" / f"{name}.json").write_text('{"text": "b", "original": null}')
    with pytest.raises(AddressError, match="cannot be read"):
        load_text(name)


def test_old_texts_make_room(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_store, "MAX_TEXTS", 3)
    names = []
    for n in range(6):
        names.append(store_text(StoredText(f"text {n}")))
        os.utime(data / "texts" / f"{names[-1]}.json", (n, n))
    left = {f.stem for f in (data / "texts").iterdir()}
    assert len(left) <= 3
    assert names[-1] in left
    assert names[0] not in left
    monkeypatch.setattr(text_store, "MAX_BYTES", 10)
    store_text(StoredText("x" * 100))
    assert not list((data / "texts").iterdir())


def test_single_edits_are_what_the_editor_shows_then(place: Place, running: RunningModel) -> None:
    current = current_text(place, "The lamp was lit at 8")
    edits = single_edits(current)
    assert [e.peak for e in edits] == sorted(e.peak for e in edits)
    peak = int(np.argmax(current.activations["hook_mid"]))
    out = [e for e in edits if not e.new]
    assert len(out) == sum(p.first_token <= peak for p in current.tokens.pieces)
    for edit in edits:
        text = current.tokens.text
        assert edit.text == text[: edit.offset] + edit.new + text[edit.offset + len(edit.old) :]
        after = current_text(place, edit.text, 0)
        assert edit.peak == pytest.approx(after.peak, rel=1e-5)


def test_the_neurons_of_a_token_are_those_nearest_to_their_maximum(
    place: Place, running: RunningModel
) -> None:
    current = current_text(place, "The lamp was lit", 1)
    nearest = nearest_to_maximum(current, n=48)
    with torch.inference_mode():
        taken = running.activations(current.tokens.ids, 0, ["hook_mid"])["hook_mid"][current.chosen_token]
    highest = [place.cache.neuron(0, n).moments("hook_mid").max for n in range(48)]
    for near in nearest:
        activation = float(taken[near.neuron])
        assert near.activation == pytest.approx(activation, rel=1e-5, abs=1e-7)
        assert near.share == pytest.approx(activation / highest[near.neuron], rel=1e-5, abs=1e-6)
    shares = [near.share for near in nearest]
    assert shares == sorted(shares, reverse=True)
    assert len(nearest) > 10


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_next_tokens_with_the_neuron_held(place: Place, running: RunningModel, value: float) -> None:
    current = current_text(place, "The lamp was", 1)
    predictions = next_tokens(current, value)
    model = running.model
    assert isinstance(model, SoluForCausalLM)
    context = torch.tensor([[0, *current.tokens.ids[: current.chosen_token + 1]]])
    mlp = model.blocks[0].mlp
    with torch.no_grad():
        logits, taken = model.run_with_cache(context, ["blocks.0.mlp.hook_post", "blocks.0.hook_resid_post"])
        post = taken["blocks.0.mlp.hook_post"][0, -1, 5]
        resid = taken["blocks.0.hook_resid_post"][0, -1] + (value - post) * mlp.W_out[5]
        held = model.unembed(model.ln_final(resid[None, None]))[0, 0]
    np.testing.assert_allclose(predictions.p, logits[0, -1].softmax(-1), atol=1e-6)
    np.testing.assert_allclose(predictions.p_held, held.softmax(-1), atol=1e-6)
    change = held - logits[0, -1]
    np.testing.assert_allclose(predictions.change, change - change.mean(), atol=1e-4)
    assert predictions.activation == pytest.approx(float(post))
    assert predictions.direct is not None
    small = next_tokens(
        current, predictions.activation + 1e-3
    )  # a small change, for which the direct effect is nearly exact
    assert np.corrcoef(small.direct, small.change)[0, 1] > 0.9


def test_only_the_held_continuation_depends_on_the_value(
    place: Place, running: RunningModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    current = current_text(place, "The")
    one, two = continuations(current, 0.0, seed=1, temperature=0.8)
    assert (one, two) == continuations(current, 0.0, seed=1, temperature=0.8)
    assert one != continuations(current, 0.0, seed=2, temperature=0.8)[0]
    assert continuations(current, 1e4, seed=1)[0] == continuations(current, 0.0, seed=1)[0]
    assert len(one) > 3


@pytest.mark.parametrize(
    ("text", "text_end"),
    [("The lamp 'was' \"lit\" \\ {x}\n漢🙂", "first"), ("漢 A lamp 'was' lit at 8\n" * 9, "last")],
)
def test_the_code_prints_what_the_editor_shows(place: Place, text: str, text_end: TextEnd) -> None:
    current = current_text(place, text, text_end=text_end)
    code = python_code(current)
    root = ENTRY.parent.parent
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    printed = [float(line.split()[0]) for line in done.stdout.splitlines()]
    assert printed == [float(f"{v:.4f}") for v in current.activations["hook_mid"]]


def test_the_changed_part_of_a_text() -> None:
    assert changed_part("a lamp b", "a light b") == "…ight…"
    assert changed_part("a lamp b", "a  b") == "… (removed) …"
    assert changed_part("same", "same") == "same"


@pytest.fixture
def app(tiny_model: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    """The editor with neuron 5's strongest example."""
    monkeypatch.setattr(settings, "model_roots", lambda: [tiny_model])
    app = AppTest.from_file(str(ENTRY), default_timeout=60).run()
    app.switch_page(EDITOR)
    for name, value in {"neuron": "5", "layer": "0", "hook": "hook_mid", "example": "top-0"}.items():
        app.query_params[name] = value
    return app.run()


def edit(app: AppTest, text: object, **more: object) -> AppTest:
    text_id = app.session_state[SESSION_KEY].text_id
    app.session_state[COMPONENT_KEY] = {"edit": {"text": text, "text_id": text_id} | more}
    return app.run()


@pytest.mark.parametrize(
    ("text", "more"),
    [
        ("a" * 500_000, {}),
        (None, {}),
        ({"x": 1}, {}),
        ("ok", {"caret": "x", "keep": "y"}),
        ("x", {"text_id": []}),
    ],
)
def test_whatever_the_browser_sends_is_taken_or_left(
    app: AppTest, text: object, more: dict[str, object]
) -> None:
    assert not app.exception
    edit(app, text, **more)
    assert not app.exception
    assert not app.error


def test_the_link_names_the_text_and_another_neuron_reads_it(app: AppTest, tiny_model: Path) -> None:
    edit(app, "The lamp 漢")
    app.number_input(key="bar_neuron").set_value(7).run()
    assert not app.exception
    assert app.query_params["neuron"] == "7"
    assert "example" not in app.query_params
    name = app.query_params["text"]
    assert load_text(name).text == "The lamp 漢"
    assert load_text(name).original


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"example": "top-400"}, "such examples"),
        ({"example": "<img>"}, "expected top-RANK"),
        ({"text": "../../etc"}, "expected the name of a stored text"),
        ({"text": "0" * 16}, "is stored here"),
        ({"neuron": "48"}, "neurons 0 to 47"),
    ],
)
def test_an_address_that_opens_nothing_says_why(
    tiny_model: Path, data: Path, monkeypatch: pytest.MonkeyPatch, params: dict[str, str], expected: str
) -> None:
    monkeypatch.setattr(settings, "model_roots", lambda: [tiny_model])
    app = AppTest.from_file(str(ENTRY), default_timeout=60).run()
    app.switch_page(EDITOR)
    for name, value in params.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception
    assert expected in app.error[0].value.replace("\\", "")


def test_the_model_is_that_of_the_definition(tiny_model: Path, running: RunningModel) -> None:
    model, _ = load_with_tokenizer(tiny_model)
    for a, b in zip(model.parameters(), running.model.parameters(), strict=True):  # type: ignore[attr-defined]
        assert torch.equal(a, b)
