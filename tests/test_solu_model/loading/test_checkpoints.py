"""Load a checkpoint folder, and the errors of damaged ones."""

import json
import os
import shutil
import stat
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from solu_model import CheckpointError, load_checkpoint
from solu_model.loading.checkpoint_files import damage_of, weights_hash
from solu_model.loading.checkpoints import load_with_tokenizer, save_checkpoint
from solu_model.loading.transformerlens import save_transformerlens


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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"d_vocab": 10**13}, "d_vocab must be 1 to 2,147,483,647, got 10000000000000"),
        ({"d_vocab": 10**9}, r"embed.W_E is \[300, 16\] where config.json implies \[1000000000, 16\]"),
        ({"n_layers": 3000}, "a model of 3,000 layers has more than the"),
        ({"n_layers": True}, "n_layers"),
        ({"n_layers": "1"}, "n_layers"),
        ({"n_layers": 1.0}, "n_layers"),
        ({"n_layers": None}, "n_layers"),
        ({"d_mlp": -64}, "d_mlp must be 1 to 268,435,456, got -64"),
        ({"layer_norm_eps": float("nan")}, "layer_norm_eps must be above 0 and at most 1, got nan"),
        ({"layer_norm_eps": -1.0}, "layer_norm_eps must be above 0 and at most 1, got -1.0"),
        ({"layer_norm_eps": float("inf")}, "layer_norm_eps must be above 0 and at most 1, got inf"),
        ({"mlp_layer_norm_eps": 0.0}, "mlp_layer_norm_eps must be above 0"),
        ({"initializer_range": -1.0}, "initializer_range must be 0 to 100, got -1.0"),
        ({"initializer_range": float("nan")}, "initializer_range must be 0 to 100, got nan"),
        ({"final_rms": "false"}, "final_rms"),
        ({"bos_token_id": 300}, "bos_token_id must be a token of the vocabulary"),
        ({"eos_token_id": [0, 9999]}, "eos_token_id must be a token of the vocabulary"),
        ({"n_heads": int("9" * 400)}, "n_heads must be 1 to 65,536, got 999"),
        ({"act_fn": "x" * 100_000}, "act_fn"),
        ({"num_labels": 10**9}, "num_labels must be at most 100,000, got 1000000000"),
        ({"quantization_config": {"bits": 4}}, "weights are quantized"),
    ],
)
def test_every_field_has_a_range(copy, changes, message):
    rewrite(copy / "config.json", **changes)
    started = time.perf_counter()
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(copy)
    assert len(str(caught.value)) < 1500
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize(
    "changes",
    [{"return_dict": False}, {"output_hidden_states": True}, {"_attn_implementation": "flash_attention_2"}],
)
def test_fields_that_say_what_a_pass_returns_change_nothing(copy, changes):
    tokens = torch.tensor([[0, 5, 6]])
    expected, _ = load_checkpoint(copy)[0].run_with_cache(tokens)
    rewrite(copy / "config.json", **changes)
    assert torch.equal(load_checkpoint(copy)[0].run_with_cache(tokens)[0], expected)


def test_what_is_no_file_is_not_listed_as_weights(copy):
    (copy / "model.safetensors").unlink()
    (copy / "model.safetensors").symlink_to("nowhere")
    with pytest.raises(CheckpointError, match=r"has no model.safetensors: copy the whole"):
        load_checkpoint(copy)


def test_a_pointer_of_git_lfs_is_named(copy):
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"
    (copy / "model.safetensors").write_text(pointer)
    with pytest.raises(CheckpointError, match=r"is a pointer of Git LFS.*git lfs pull"):
        load_checkpoint(copy)
    assert "git lfs pull" in damage_of(copy / "model.safetensors")


def test_a_configuration_is_compared_with_the_file_before_anything_is_allocated(copy):
    rewrite(copy / "config.json", d_vocab=10**8, d_model=2**16, d_mlp=2**20)  # 26 TB
    with pytest.raises(CheckpointError, match=r"does not fit its config.json"):
        load_checkpoint(copy)


@pytest.mark.parametrize("content", ["[" * 200_000, '{"a":' * 100_000, '{"n_ctx": 1' + "1" * 5000 + "}"])
def test_json_that_no_parser_likes_is_refused(copy, content):
    (copy / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"config\.json is not JSON"):
        load_checkpoint(copy)


def test_a_message_names_ten_tensors_and_counts_the_rest(copy):
    weights = load_file(copy / "model.safetensors")
    many = {f"surplus.{'x' * 500}.{i}": torch.zeros(1) for i in range(3000)}
    save_file(weights | many, copy / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"unexpected surplus.*and 2,990 more") as caught:
        load_checkpoint(copy)
    assert len(str(caught.value)) < 6000
    save_file({f"_orig_mod.{n}": t for n, t in weights.items()}, copy / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"All names begin with _orig_mod\. as torch.compile"):
        load_checkpoint(copy)


@pytest.mark.parametrize("form", ["shards", "bin"])
def test_shards_and_pickled_weights_are_read(copy, form):
    expected = load_checkpoint(copy)[0].state_dict()
    weights = load_file(copy / "model.safetensors")
    (copy / "model.safetensors").unlink()
    if form == "bin":
        torch.save(weights, copy / "pytorch_model.bin")
    else:
        names = sorted(weights)
        parts = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
        for file, part in parts.items():
            save_file({name: weights[name] for name in part}, copy / file)
        listed = {name: file for file, part in parts.items() for name in part}
        (copy / "model.safetensors.index.json").write_text(json.dumps({"weight_map": listed}))
    actual = load_checkpoint(copy)[0].state_dict()
    assert all(torch.equal(actual[name], expected[name]) for name in expected)
    assert len(weights_hash(copy)) == 64


def test_a_tensor_that_takes_no_room_in_the_file_is_refused(copy):
    weights = load_file(copy / "model.safetensors")
    (copy / "model.safetensors").unlink()
    weights["embed.W_E"] = torch.zeros(1).expand(300, 16)
    torch.save(weights, copy / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"embed\.W_E as something other than an array of numbers"):
        load_checkpoint(copy)


def test_nothing_is_drawn_and_nothing_stays_mapped(copy):
    torch.manual_seed(0)
    state = torch.get_rng_state()
    model, _ = load_checkpoint(copy)
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(t.is_meta for t in model.state_dict().values())
    assert all(p.requires_grad for p in model.parameters())
    expected = model.embed.W_E.clone()
    file = copy / "model.safetensors"
    file.write_bytes(b"\xff" * file.stat().st_size)
    assert torch.equal(model.embed.W_E, expected)


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o002])
def test_written_files_follow_the_umask(copy, tmp_path, mask):
    model, tokenizer = load_checkpoint(copy)
    before = os.umask(mask)
    try:
        save_checkpoint(model, tmp_path / "ours", tokenizer)
        save_transformerlens(model, tmp_path / "theirs", tokenizer)
    finally:
        os.umask(before)
    files = [f for name in ("ours", "theirs") for f in (tmp_path / name).iterdir()]
    assert {stat.S_IMODE(f.stat().st_mode) for f in files} == {0o666 & ~mask}


@pytest.mark.parametrize("name", ["tokenizer_config.json", "special_tokens_map.json"])
@pytest.mark.parametrize("content", ["{", "[]"])
def test_the_damaged_file_beside_a_tokenizer_is_named(copy, name, content):
    (copy / name).write_text(content)
    with pytest.raises(CheckpointError, match=rf"{name} (is not JSON|holds a list)"):
        load_checkpoint(copy)
