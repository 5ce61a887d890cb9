"""Every page opens a checkpoint in each form that `solu cache build` reads."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from streamlit.testing.v1 import AppTest
from transformers import LlamaConfig, LlamaForCausalLM, Olmo2Config, Olmo2ForCausalLM

import dashboard
from cache.building.build import build_cache
from cache.reader import NeuronCache
from dashboard.shared import places, settings
from dashboard.shared.address import Address
from dashboard.shared.catalog import ModelError
from dashboard.shared.running import logit_effects
from dashboard.shared.running.running_model import running_model_at
from solu_model import load_checkpoint
from solu_model.loading.checkpoint_files import weights_hash
from solu_model.loading.transformerlens import save_transformerlens

ENTRY = Path(dashboard.__file__).with_name("pages.py")
FORMS = ["shards", "pickled", "transformerlens", "llama", "olmo2"]


@pytest.fixture(scope="module", params=FORMS)
def model(
    request: pytest.FixtureRequest,
    tiny_checkpoint: Path,
    corpus: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Write a checkpoint in one form, with its cache."""
    folder = tmp_path_factory.mktemp(request.param) / request.param
    write(request.param, tiny_checkpoint, folder)
    assert not (folder / "model.safetensors").exists() or request.param in ("llama", "olmo2")
    build_cache(folder, [corpus], folder / "neurons", progress=False)
    return folder


def write(form: str, checkpoint: Path, folder: Path) -> None:
    """Write the tiny model in a form, or a small model of another family with its tokenizer."""
    if form == "transformerlens":
        save_transformerlens(*load_checkpoint(checkpoint)[:1], folder)
    elif form in ("llama", "olmo2"):
        config_class, model_class = {
            "llama": (LlamaConfig, LlamaForCausalLM),
            "olmo2": (Olmo2Config, Olmo2ForCausalLM),
        }[form]
        torch.manual_seed(0)
        sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
        sizes |= {"intermediate_size": 20, "vocab_size": 300, "max_position_embeddings": 32}
        config = config_class(**sizes, bos_token_id=0, eos_token_id=0, pad_token_id=0)
        model_class(config).save_pretrained(folder)
    else:
        folder.mkdir()
        shutil.copy(checkpoint / "config.json", folder)
        weights = load_file(checkpoint / "model.safetensors")
        if form == "pickled":
            torch.save(weights, folder / "pytorch_model.bin")
        else:
            halves = [sorted(weights)[::2], sorted(weights)[1::2]]
            weight_map = {}
            for number, names in enumerate(halves):
                file = f"model-{number}.safetensors"
                save_file({name: weights[name] for name in names}, folder / file)
                weight_map |= dict.fromkeys(names, file)
            (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(checkpoint / name, folder)


@pytest.fixture
def found(model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the app find that model alone."""
    monkeypatch.setattr(settings, "model_roots", lambda: [model])
    return model


def errors(page: str, **params: str) -> list[str]:
    """Open a page and return the errors and warnings that it shows."""
    app = AppTest.from_file(str(ENTRY), default_timeout=60)
    if page:
        app.run()
        app.switch_page(f"{page}/page.py")
    for name, value in params.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception
    return [element.value.replace("\\", "") for element in (*app.error, *app.warning)]


def test_every_page_opens_it(found: Path) -> None:
    (folder,) = places.models()
    assert folder.problems == []
    assert NeuronCache.open(found / "neurons").manifest.model.sha256 == weights_hash(found)
    for page in ("", "neurons", "layer", "lab", "editor", "models"):
        assert errors(page) == [], page
    for panel in ("tokens", "similar", "numbers"):
        assert errors("", panel=panel) == [], panel


def test_the_model_runs_and_shows_its_effects_or_says_why_not(found: Path) -> None:
    place = places.find_place(Address(found.name, 0, 3))
    running = running_model_at(place)
    example = place.cache.neuron(0, 3).top("hook_post")[0]
    tokens = example.tokens[: example.peak + 1].tolist()
    again = running.activations(tokens, 0, ["hook_post"])["hook_post"][-1, 3]
    assert again == pytest.approx(example.value, rel=1e-4)  # the tiny model's windows hold its contexts
    shown = errors("", panel="output")
    if found.name != "olmo2":
        assert logit_effects.of_neuron(place).shape == (300,)
        assert shown == []
        return
    reason = "a neuron does not add a multiple of its row of W_out to the residual stream"
    with pytest.raises(ModelError, match=rf"has no direct logit effects: .*{reason}"):
        logit_effects.of_neuron(place)
    assert any(reason in text for text in shown)


def test_other_weights_are_seen(found: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = Path(shutil.copytree(found, tmp_path / found.name))
    monkeypatch.setattr(settings, "model_roots", lambda: [copy])
    file = max(places.models()[0].weights)
    data = bytearray(file.read_bytes())
    data[-200] ^= 1
    file.write_bytes(data)
    (shown,) = errors("")
    assert "was built from another checkpoint" in shown
    file.unlink()
    assert errors("") == []  # the cache alone can be browsed
    assert any("opy the whole" in shown for shown in errors("models"))
