"""Pages that run a model, with tokenizers that are not byte-level, without a BOS, with shorter contexts."""

import json
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cache.building.build import build_cache
from cache.building.engine import Options
from cache.reader import NeuronCache
from dashboard.editor.current_text import CurrentText, read_current_text
from dashboard.editor.next_tokens import continuations, next_tokens
from dashboard.editor.occlusion import single_edits
from dashboard.editor.panels.code import python_code
from dashboard.editor.reading_route import ReadingRequest, read_text
from dashboard.editor.service import tokenize
from dashboard.editor.token_neurons import nearest_to_maximum
from dashboard.editor.workspace import Workspace
from dashboard.neuron.ablation import ablation
from dashboard.neuron.recompute import recomputed
from dashboard.shared import places, settings
from dashboard.shared.address import Address
from dashboard.shared.catalog import ModelError
from dashboard.shared.place import Place
from dashboard.shared.running.running_model import running_model_at
from solu_model import load_checkpoint
from solu_model.config import SoluConfig
from solu_model.model import SoluForCausalLM
from tests.tokenizer_kinds import KINDS, tokenizer_of

D_VOCAB, N_CTX = 420, 20
TEXTS = ["Reading one neuron at a time. " * 3, "the lamps and the lights of the sea", "one street, one lamp"]


def make_model(folder: Path, kind: str, own_bos: str | None = "[BOS]", **options: Any) -> Path:
    """A small SoLU model with a tokenizer and a cache."""
    torch.manual_seed(0)
    config = SoluConfig(
        d_vocab=D_VOCAB, n_ctx=N_CTX, d_model=16, n_heads=2, d_head=8, d_mlp=12, initializer_range=0.5,
        bos_token_id=None,
    )  # fmt: skip
    SoluForCausalLM(config).save_pretrained(folder)
    tokenizer_of(kind, own_bos).save_pretrained(folder)
    (folder.parent / "text.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in TEXTS))
    build_cache(
        folder, [folder.parent / "text.jsonl"], folder / "neurons", Options(**options), progress=False
    )
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("kinds")
    made = {kind: make_model(root / kind / kind, kind) for kind in KINDS}
    made["none"] = make_model(root / "none" / "none", "byte-level", None, bos="none")
    made["short"] = make_model(root / "short" / "short", "byte-level", bos="0", n_ctx=7)
    return made


@pytest.fixture
def place(request: pytest.FixtureRequest, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(settings, "model_roots", lambda: [folders[request.param]])
    return places.find_place(Address(layer=0, neuron=5, hook="hook_mid"))


def current_text(place: Place, text: str) -> CurrentText:
    return read_current_text(place, Workspace("", text))


every_kind = pytest.mark.parametrize("place", [*KINDS, "none", "short"], indirect=True)
without_bos = pytest.mark.parametrize("place", ["none"], indirect=True)


@every_kind
def test_the_editor_covers_the_text_and_shows_the_models_values(place: Place) -> None:
    text = "Reading one neuron"
    running = running_model_at(place)
    answer = read_text(ReadingRequest(model=place.model.name, layer=0, neuron=5, hook="hook_mid", text=text))
    tokens = tokenize(running, place.cache.vocabulary, text)
    assert "".join(p.text for p in tokens.pieces) == text[: answer["ends"][-1]]
    if answer["n_read"] == answer["n_all"]:
        assert answer["ends"][-1] == len(text)
    manifest = place.cache.manifest
    assert manifest.tokenization is not None
    bos = manifest.tokenization.bos_id
    assert (answer["has_bos"], answer["n_ctx"]) == (bos is not None, manifest.n_ctx)
    model, _ = load_checkpoint(place.model.path)
    context = [*([] if bos is None else [bos]), *tokens.ids]
    name = "blocks.0.mlp.hook_mid"
    with torch.inference_mode():
        acts = model.run_with_cache(torch.tensor([context]), [name])[1][name][0, -len(tokens.ids) :, 5]
    expected = [
        max(acts[p.first_token : p.first_token + p.n_tokens].tolist(), key=abs) for p in tokens.pieces
    ]
    assert answer["values"]["hook_mid"] == pytest.approx(expected, rel=1e-5, abs=1e-7)


@every_kind
def test_stored_examples_are_found_again(place: Place) -> None:
    """Each window is a whole context here, so that the model must give the very values of the cache."""
    examples = recomputed(place)
    assert examples
    assert all(e.whole and e.agrees for e in examples)
    again = place.cache.neuron(0, 5).top("hook_mid")[0]
    by_page = running_model_at(place).activations(again.tokens, 0, ["hook_mid"])["hook_mid"]
    np.testing.assert_allclose(by_page[:, 5], again.activations["hook_mid"], atol=0.02 * abs(again.value))


@every_kind
def test_every_panel_of_the_editor_answers(place: Place) -> None:
    current = current_text(place, "one neuron at")
    assert current.chosen is not None
    edits = single_edits(current)
    assert edits
    for edit in edits[:4]:
        assert edit.peak == pytest.approx(current_text(place, edit.text).peak, rel=1e-4, abs=1e-6)
    nearest = nearest_to_maximum(current)
    acts = running_model_at(place).activations(current.tokens.ids, 0, ["hook_mid"])["hook_mid"]
    for near in nearest:
        assert near.activation == pytest.approx(float(acts[current.chosen_token, near.neuron]), abs=1e-5)
    assert next_tokens(current, 1.0).activation == pytest.approx(
        float(current.activations["hook_post"][current.chosen_token]), abs=1e-5
    )
    assert continuations(current, 1.0, seed=0)[0]


@every_kind
def test_an_ablation_predicts_every_token_after_the_first(place: Place) -> None:
    found = ablation(place, "top")
    for changes, example in zip(found.changes, place.cache.neuron(0, 5).top("hook_mid"), strict=True):
        assert len(changes) == len(example.tokens)
        assert np.isfinite(changes[:-1]).all()


@without_bos
def test_an_ablation_without_a_bos_is_that_of_the_window(place: Place) -> None:
    model, _ = load_checkpoint(place.model.path)
    example = place.cache.neuron(0, 5).top("hook_mid")[0]
    tokens = torch.tensor([example.tokens.tolist()])
    mlp = model.blocks[0].mlp
    with torch.no_grad():
        plain = model(tokens).logits[0].log_softmax(-1)
        mlp.W_out[5] = 0
        without = model(tokens).logits[0].log_softmax(-1)
    following = tokens[0, 1:, None]
    expected = (plain - without)[:-1].gather(1, following)[:, 0]
    np.testing.assert_allclose(ablation(place, "top").changes[0][:-1], expected, atol=1e-4)


@without_bos
def test_a_continuation_of_nothing_without_a_bos_is_refused(place: Place) -> None:
    with pytest.raises(ModelError, match="have no BOS, so nothing predicts a first token"):
        continuations(current_text(place, ""), 1.0, seed=0)


@pytest.mark.parametrize("place", ["nfc-lower"], indirect=True)
def test_what_the_tokenizer_changed_is_said(place: Place) -> None:
    text = "Cafe\u0301 one"
    answer = read_text(ReadingRequest(model=place.model.name, layer=0, neuron=5, hook="hook_mid", text=text))
    assert answer["ends"][-1] == len(text)
    assert answer["changed"] == [["C", "c"], ["e\u0301", "é"]]
    assert answer["n_changed"] == 2
    assert len(answer["values"]["hook_mid"]) == len(answer["ends"])


@pytest.mark.parametrize("place", ["llama-like", "byte-level"], indirect=True)
def test_a_space_that_the_tokenizer_adds_is_no_change(place: Place) -> None:
    answer = read_text(
        ReadingRequest(model=place.model.name, layer=0, neuron=5, hook="hook_mid", text="one 🙂")
    )
    assert (answer["n_changed"], answer["changed"]) == (0, [])


@pytest.mark.parametrize("place", ["wordpiece"], indirect=True)
def test_a_character_that_the_tokenizer_lacks_is_said(place: Place) -> None:
    answer = read_text(
        ReadingRequest(model=place.model.name, layer=0, neuron=5, hook="hook_mid", text="one 🙂")
    )
    assert answer["changed"] == [[" 🙂", "[UNK]"]]


@pytest.mark.parametrize("place", ["none", "short", "llama-like"], indirect=True)
def test_the_code_makes_the_same_contexts(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    current = current_text(place, "one neuron at a time")
    (tmp_path / "code.py").write_text(python_code(current))
    runpy.run_path(str(tmp_path / "code.py"))
    printed = [float(line.split()[0]) for line in capsys.readouterr().out.splitlines()]
    assert printed == [float(f"{v:.4f}") for v in current.activations["hook_mid"]]


@pytest.mark.parametrize("place", ["byte-level"], indirect=True)
def test_a_cache_of_an_earlier_version_is_read_with_the_tokenizers_bos(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_model(tmp_path / "old", "byte-level")
    file = folder / "neurons/cache.json"
    manifest = json.loads(file.read_text()) | {"version": 3}
    del manifest["tokenization"]
    file.write_text(json.dumps(manifest))
    assert NeuronCache.open(folder / "neurons").manifest.tokenization is None
    config = folder / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"bos_token_id": 7}))
    monkeypatch.setattr(settings, "model_roots", lambda: [folder])
    old = places.find_place(Address(layer=0, neuron=5, hook="hook_mid"))
    assert running_model_at(old).tokenization.bos_id == 1
    assert all(e.agrees for e in recomputed(old))
