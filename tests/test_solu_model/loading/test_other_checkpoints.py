"""Checkpoints of other causal models: every tensor comes from their own files, or there is an error."""

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from solu_model import CheckpointError, load_checkpoint, load_neuron_model
from solu_model.loading.adapters import AdaptedModel, load_any_model
from solu_model.loading.checkpoint_files import weight_files_of, weights_hash
from tests.test_solu_model.loading.families import FAMILIES, Family, random_model, tokens

GPT2 = next(f for f in FAMILIES if f.title == "GPT-2")
LLAMA = next(f for f in FAMILIES if f.title == "Llama")
SHARDED = [f for f in FAMILIES if f.title in ("GPT-2", "Llama", "Phi-3", "OPT", "Gemma 3")]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a small GPT-2."""
    folder = tmp_path_factory.mktemp("saved") / "gpt2"
    random_model(GPT2).save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """Return a copy of the GPT-2 to damage."""
    return Path(shutil.copytree(saved, tmp_path / "gpt2"))


def logits(folder: Path) -> Tensor:
    model = load_any_model(folder)[0]
    return model.run_with_cache(tokens(), [])[0]


def change(folder: Path, change_weights: Callable[[dict[str, Tensor]], object]) -> None:
    """Write the weights again after a change."""
    weights = load_file(folder / "model.safetensors")
    changed = change_weights(weights)
    save_file(changed if isinstance(changed, dict) else weights, folder / "model.safetensors")


def fields(folder: Path, **changes: object) -> None:
    """Write config.json again with other fields."""
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize("family", SHARDED, ids=str)
@pytest.mark.parametrize("form", ["safetensors", "shards", "bin", "sharded bin"])
def test_every_form_of_the_weights_is_read(family: Family, form: str, tmp_path: Path) -> None:
    model = random_model(family)
    model.save_pretrained(tmp_path, max_shard_size="6KB" if "shard" in form else "5GB")
    if "bin" in form:
        for file in tmp_path.glob("*.safetensors"):
            torch.save(load_file(file), tmp_path / pickled(file.name))
            file.unlink()
        for index in tmp_path.glob("*.index.json"):
            listed = json.loads(index.read_text())
            listed["weight_map"] = {name: pickled(file) for name, file in listed["weight_map"].items()}
            (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps(listed))
            index.unlink()
    assert len(weight_files_of(tmp_path)) == (1 if form in ("safetensors", "bin") else weights_in(tmp_path))
    torch.testing.assert_close(logits(tmp_path), model(tokens()).logits, rtol=0, atol=0)


def pickled(name: str) -> str:
    """Return transformers' name of a file in PyTorch's own format."""
    return name.replace("model", "pytorch_model").replace(".safetensors", ".bin")


def weights_in(folder: Path) -> int:
    return sum(file.suffix in (".safetensors", ".bin") for file in folder.iterdir())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda w: w.pop("transformer.h.1.mlp.c_fc.weight"), r"missing transformer.h.1.mlp.c_fc.weight$"),
        (lambda w: w.update(surplus=torch.zeros(2)), "unexpected surplus$"),
        (
            lambda w: w.update({"transformer.ln_f.weight": torch.zeros(5)}),
            r"transformer.ln_f.weight is \[5\] where config.json implies \[16\]$",
        ),
        (
            lambda w: w.update({"transformer.ln_f.weight": torch.zeros(16, dtype=torch.int32)}),
            "transformer.ln_f.weight is torch.int32, not floating point",
        ),
        (
            lambda w: {f"_orig_mod.{n}": t for n, t in w.items()},
            r"and \d+ more\. All names begin with _orig_mod\. as torch.compile names them",
        ),
        (lambda w: {f"module.{n}": t for n, t in w.items()}, r"All names begin with module\."),
    ],
)
def test_missing_unexpected_and_misshapen_tensors_are_refused(
    folder: Path, damage: Callable[[dict[str, Tensor]], object], message: str
) -> None:
    change(folder, damage)
    with pytest.raises(CheckpointError, match=rf"does not fit its config.json: .*{message}") as caught:
        load_any_model(folder)
    assert len(str(caught.value)) < 2000


def test_fields_that_say_what_a_pass_returns_change_nothing(folder: Path) -> None:
    expected = logits(folder)
    fields(folder, return_dict=False, output_hidden_states=True, output_attentions=True)
    assert torch.equal(logits(folder), expected)


def test_the_unembedding_may_be_left_out_only_where_it_is_tied(folder: Path) -> None:
    assert "lm_head.weight" not in load_file(folder / "model.safetensors")
    load_any_model(folder)
    fields(folder, tie_word_embeddings=False)
    with pytest.raises(CheckpointError, match=r"missing lm_head.weight"):
        load_any_model(folder)


def test_a_file_may_untie_the_unembedding(folder: Path) -> None:
    own = torch.randn(40, 16)
    change(folder, lambda w: w.update({"lm_head.weight": own}))
    model, _ = load_any_model(folder)
    assert torch.equal(model.output_path(0).W_U, own.T)


def test_constants_that_older_versions_saved_are_no_weights(folder: Path) -> None:
    expected = logits(folder)
    mask = torch.ones(1, 1, 32, 32).tril()
    old = {"attn.bias": mask, "attn.masked_bias": torch.tensor(-1e4)}
    change(folder, lambda w: w.update({f"transformer.h.0.{n}": t for n, t in old.items()}))
    assert torch.equal(logits(folder), expected)
    change(folder, lambda w: w.update({"transformer.h.0.attn.masked_bias": torch.zeros(16)}))
    with pytest.raises(CheckpointError, match=r"unexpected transformer.h.0.attn.masked_bias"):
        load_any_model(folder)


def test_an_adapter_is_not_left_out(folder: Path) -> None:
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"holds an adapter .*merge it into the model"):
        load_any_model(folder)


def test_weights_without_the_prefix_of_the_whole_model_load(folder: Path) -> None:
    """The published GPT-2 names its tensors so."""
    expected = logits(folder)
    change(folder, lambda w: {n.removeprefix("transformer."): t for n, t in w.items()})
    assert torch.equal(logits(folder), expected)


def test_shards_and_a_stray_file_are_refused(folder: Path, tmp_path: Path) -> None:
    random_model(GPT2).save_pretrained(tmp_path / "shards", max_shard_size="6KB")
    for file in (tmp_path / "shards").glob("model-*"):
        shutil.copy(file, folder)
    shutil.copy(tmp_path / "shards" / "model.safetensors.index.json", folder)
    for read in (weights_hash, load_any_model):
        with pytest.raises(
            CheckpointError, match=r"holds model.safetensors and also model.safetensors.index"
        ):
            read(folder)
    (folder / "model.safetensors").unlink()
    load_any_model(folder)


def test_the_hash_is_of_the_files_that_are_read(folder: Path) -> None:
    single = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    (folder / "pytorch_model.bin").write_bytes(b"other")
    (folder / "consolidated.safetensors").write_bytes(b"other")
    assert weights_hash(folder) == single == weights_hash(folder / "model.safetensors")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    content = hashlib.sha256((folder / "pytorch_model.bin").read_bytes()).hexdigest()
    listing = f"{content}  pytorch_model.bin\n"
    assert weights_hash(folder) == hashlib.sha256(listing.encode()).hexdigest()


@pytest.mark.parametrize(
    ("weight_map", "message"),
    [
        ({"a": "../model.safetensors"}, r"not names in its folder: \.\./model"),
        ({"a": "/etc/passwd"}, "not names in its folder"),
        ({"a": "model-1.safetensors"}, "lacks 1 of the 1 files"),
        ({"a": 3}, "no weight_map"),
        ([], "no weight_map"),
        ({}, "no weight_map"),
    ],
)
def test_an_index_leads_to_files_in_its_folder(folder: Path, weight_map: object, message: str) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(CheckpointError, match=message):
        load_any_model(folder)


@pytest.mark.parametrize("length", [0, 7, 100, 20_000])
def test_truncated_weights_are_damaged(folder: Path, length: int) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(CheckpointError, match=r"model.safetensors is damaged .*copy or train it again"):
        load_any_model(folder)


BRACKETS = "[" * 200_000


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_layer": 0}, "num_hidden_layers must be a whole number above 0, got 0"),
        ({"n_layer": True}, "n_layer.*expected int, got bool"),
        ({"n_layer": 3000}, "a model of 3,000 layers has more than the"),
        ({"n_layer": 10**9}, "a model of 1,000,000,000 layers has more than the"),
        ({"n_layer": "2"}, "cannot be read|above 0"),
        ({"n_embd": -16}, "cannot be read|above 0"),
        ({"n_head": 0}, "cannot be read|above 0"),
        ({"n_head": 3}, "cannot be read"),
        ({"vocab_size": 10**13}, "vocab_size is larger than any size"),
        ({"vocab_size": 10**9}, r"wte.weight is \[40, 16\] where config.json implies \[1000000000, 16\]"),
        ({"n_positions": 10**9}, r"wpe.weight is \[32, 16\] where config.json implies \[1000000000, 16\]"),
        ({"layer_norm_epsilon": float("nan")}, "layer_norm_epsilon must be 0 to 1, got nan"),
        ({"layer_norm_epsilon": -1}, "layer_norm_epsilon must be 0 to 1, got -1"),
        ({"layer_norm_epsilon": "small"}, "layer_norm_epsilon must be 0 to 1, got 'small'"),
        ({"num_labels": 10**9}, "num_labels must be at most"),
        ({"activation_function": "none at all"}, "cannot be read"),
        ({"model_type": "t5"}, "cannot be read"),
        ({"model_type": "no such model"}, "cannot be read"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "weights are quantized"),
    ],
)
def test_invalid_configurations_are_refused_at_once(
    folder: Path, changes: dict[str, object], message: str
) -> None:
    fields(folder, **changes)
    started = time.perf_counter()
    with pytest.raises(CheckpointError, match=message) as caught:
        load_any_model(folder)
    assert len(str(caught.value)) < 1500
    assert time.perf_counter() - started < 20


@pytest.mark.parametrize("content", [BRACKETS, '{"a":' * 100_000, "[1" + "1" * 5000 + "]", "\x00", "[]"])
@pytest.mark.parametrize("name", ["config.json", "model.safetensors.index.json"])
def test_json_that_no_parser_likes_is_refused(folder: Path, name: str, content: str) -> None:
    (folder / name).write_text(content)
    with pytest.raises(CheckpointError, match=r"is not JSON|holds a list"):
        load_any_model(folder)


def test_a_file_without_end_is_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("solu_model.loading.checkpoint_files._MAX_JSON", 1000)
    (folder / "config.json").write_text(json.dumps({"model_type": "gpt2", "more": "x" * 1000}))
    with pytest.raises(CheckpointError, match="more than 1,000 bytes"):
        load_any_model(folder)


def test_code_of_a_checkpoint_is_never_run_nor_asked_about(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def asked(*_: object) -> str:
        raise AssertionError("a question on the terminal")

    monkeypatch.setattr("builtins.input", asked)
    mark = tmp_path / "ran"
    (folder / "mine.py").write_text(f"open({str(mark)!r}, 'w')\nclass Config: pass\nclass Model: pass\n")
    fields(
        folder,
        model_type="mine",
        auto_map={"AutoConfig": "mine.Config", "AutoModelForCausalLM": "mine.Model"},
    )
    with pytest.raises(CheckpointError, match="type 'mine' that cannot be read"):
        load_any_model(folder)
    assert not mark.exists()


def test_a_model_of_more_than_text_is_refused(folder: Path) -> None:
    text = {"hidden_size": 16, "num_hidden_layers": 1, "vocab_size": 40}
    (folder / "config.json").write_text(json.dumps({"model_type": "gemma3", "text_config": text}))
    with pytest.raises(CheckpointError, match="'gemma3', which reads more than text"):
        load_any_model(folder)


def test_a_file_that_may_not_be_read_is_called_that(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Permissions do not bind every account that runs the tests, so that the system refuses is pretended."""
    (folder / "model.safetensors").chmod(0o600)

    def refuse(file: Path, *args: Any, **kwargs: Any) -> Any:
        if str(file).endswith("model.safetensors"):
            raise PermissionError(13, "Permission denied", str(file))
        return opened(file, *args, **kwargs)

    opened = open
    monkeypatch.setattr("builtins.open", refuse)
    for read in (load_any_model, weights_hash):
        with pytest.raises(CheckpointError, match=r"may not be read by this account \(its mode is 600\)"):
            read(folder)


def test_a_weights_file_may_be_named(folder: Path) -> None:
    expected = logits(folder)
    (folder / "model.safetensors").rename(folder / "step-200.safetensors")
    with pytest.raises(CheckpointError, match=r"no model.safetensors, only step-200.safetensors: give the"):
        load_any_model(folder)
    assert torch.equal(logits(folder / "step-200.safetensors"), expected)


def test_the_files_may_be_written_over_while_the_model_is_in_use(folder: Path) -> None:
    model = load_any_model(folder)[0]
    expected = model.run_with_cache(tokens(), [])[0]
    file = folder / "model.safetensors"
    file.write_bytes(b"\xff" * file.stat().st_size)
    assert torch.equal(model.run_with_cache(tokens(), [])[0], expected)


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("foo", "there is no device 'foo': this machine has cpu"),
        ("cuda:7", "there is no device 'cuda:7': this machine has cpu"),
        ("meta", "device 'meta' holds shapes and no numbers"),
        ("", "there is no device ''"),
    ],
)
def test_a_device_is_checked_before_loading(device: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=message):
        load_neuron_model(tmp_path / "nowhere", device=device)


def test_half_precision_and_automatic_division(folder: Path) -> None:
    with pytest.raises(CheckpointError, match="dtype must be one of float32, bfloat16, float16, got 'int8'"):
        load_any_model(folder, dtype="int8")
    model, _ = load_any_model(folder, dtype="bfloat16")
    assert isinstance(model, AdaptedModel)
    assert model.model.dtype == torch.bfloat16
    pytest.importorskip("accelerate")
    whole, _ = load_any_model(folder, device="auto")
    assert torch.equal(whole.run_with_cache(tokens(), [])[0], logits(folder))


def test_load_checkpoint_names_the_function_that_loads_other_models(folder: Path) -> None:
    with pytest.raises(CheckpointError, match=r"type 'gpt2'.*solu_model.load_neuron_model"):
        load_checkpoint(folder)
