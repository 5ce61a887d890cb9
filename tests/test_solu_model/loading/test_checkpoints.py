"""Load a checkpoint folder, and the errors of damaged ones."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from solu_model import CheckpointError, load_checkpoint
from solu_model.loading.checkpoints import load_with_tokenizer


@pytest.fixture
def copy(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "copy", ignore=shutil.ignore_patterns("neurons")))


def rewrite(file: Path, **changes: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_loads_for_evaluation_in_float32(tiny_checkpoint):
    model, tokenizer = load_checkpoint(tiny_checkpoint)
    assert not model.training
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert len(tokenizer) == model.config.d_vocab == 300


def test_bf16_weights_load_exactly(copy):
    weights = {k: v.bfloat16() for k, v in load_file(copy / "model.safetensors").items()}
    save_file(weights, copy / "model.safetensors")
    model, _ = load_checkpoint(copy)
    for name, value in model.state_dict().items():
        assert torch.equal(value, weights[name].float())


def test_a_missing_folder_or_configuration_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="is not a folder"):
        load_checkpoint(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_a_missing_file_is_named(copy, name):
    (copy / name).unlink()
    with pytest.raises(CheckpointError, match=f"{name}: copy the whole"):
        load_with_tokenizer(copy)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_a_file_cut_short_is_named(copy, name):
    data = (copy / name).read_bytes()
    (copy / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(CheckpointError, match=rf"{name} is damaged"):
        load_checkpoint(copy)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "gpt2"}, "type 'gpt2': expected 'solu'"),
        ({"act_fn": "relu"}, "no valid model.*act_fn"),
        ({"d_mlp": 0}, "no valid model.*d_mlp"),
        ({"d_mlp": "many"}, "no valid model.*d_mlp"),
        ({"d_vocab": 299}, r"unembed\.W_U is \[16, 300\] where config.json implies \[16, 299\]"),
    ],
)
def test_invalid_configurations_are_explained(copy, changes, message):
    rewrite(copy / "config.json", **changes)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(copy)


def test_a_configuration_that_is_not_json(copy):
    (copy / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="is not JSON"):
        load_checkpoint(copy)
    (copy / "config.json").write_text("[]")
    with pytest.raises(CheckpointError, match="holds a list: expected a JSON object"):
        load_checkpoint(copy)


def test_missing_extra_and_misshapen_tensors_are_all_named(copy):
    weights = load_file(copy / "model.safetensors")
    del weights["embed.W_E"]
    weights["surplus"] = torch.zeros(1)
    weights["ln_final.w"] = torch.zeros(3)
    save_file(weights, copy / "model.safetensors")
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(copy)
    for part in (
        "missing embed.W_E",
        "unexpected surplus",
        "ln_final.w is [3] where config.json implies [16]",
    ):
        assert part in str(error.value)
