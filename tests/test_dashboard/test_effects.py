"""What a neuron does to the output, against the same read off the weights and the model by hand."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from dashboard import settings
from dashboard.catalog import WEIGHTS, ModelError
from dashboard.services import effects, places
from dashboard.services.places import Place
from dashboard.state import Address
from solu_model.checkpoints import load_checkpoint


@pytest.fixture
def models(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a copy of the tiny model, the only one that is found."""
    folder = tmp_path / "models"
    shutil.copytree(tiny_model, folder / "tiny")
    monkeypatch.setattr(settings, "model_roots", lambda: [folder])
    return folder


@pytest.fixture
def place(models: Path) -> Place:
    """Neuron 7 of the tiny model."""
    return places.find_place(Address(neuron=7))


def by_hand(folder: Path, fold: bool) -> np.ndarray:
    """The direct effects of all neurons of the tiny model, `[M, V]`, in float64."""
    weights = {n: p.detach().double().numpy() for n, p in load_checkpoint(folder)[0].named_parameters()}
    rows = weights["blocks.0.mlp.W_out"]
    if fold:
        rows = rows * weights["blocks.0.mlp.ln.w"][:, None]
    rows = rows - rows.mean(1, keepdims=True)
    found = (rows * weights["ln_final.w"]) @ weights["unembed.W_U"]
    return found - found.mean(1, keepdims=True)


@pytest.mark.parametrize("fold", [False, True])
def test_direct_effects(place: Place, models: Path, fold: bool) -> None:
    want = by_hand(models / "tiny", fold)
    np.testing.assert_allclose(effects.of_neuron(place, fold=fold), want[7], atol=1e-5)
    for token in (0, 123, 299):
        np.testing.assert_allclose(effects.of_token(place, token, fold=fold), want[:, token], atol=1e-5)


def test_a_missing_model_and_another_tokenizer_are_said(place: Place, models: Path) -> None:
    file = models / "tiny" / "tokenizer.json"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace('"dropout":null', '"dropout":0.5'), encoding="utf-8")
    if file.read_text(encoding="utf-8") == text:
        file.write_text(text.replace('"dropout": null', '"dropout": 0.5'), encoding="utf-8")
    assert file.read_text(encoding="utf-8") != text
    with pytest.raises(ModelError, match="built with a tokenizer of SHA-256"):
        effects.of_neuron(place)
    (models / "tiny" / WEIGHTS).unlink()
    with pytest.raises(ModelError, match=f"holds no {WEIGHTS}"):
        effects.of_token(place, 0)
