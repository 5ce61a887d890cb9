"""Open checkpoints: hostile and damaged files, tokenizers, the hub, and `solu convert`."""

import json
import logging
import os
import pickle
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel
from typer.testing import CliRunner

from solu_model import load_neuron_model
from solu_model.commands.convert import convert
from solu_model.config import SoluConfig
from solu_model.loading import hub
from solu_model.loading.checkpoints import (
    CheckpointError,
    load_checkpoint,
    load_with_tokenizer,
    save_checkpoint,
)
from solu_model.loading.weight_files import WeightFiles
from solu_model.model import SoluForCausalLM
from solu_model.text.tokenizer import train_tokenizer

CONFIG = {"n_ctx": 8, "d_model": 8, "n_layers": 1, "n_heads": 2, "d_head": 4, "d_mlp": 16}


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep every test off the network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


def small_model(**fields: Any) -> SoluForCausalLM:
    torch.manual_seed(0)
    return SoluForCausalLM(SoluConfig(**{"d_vocab": 257, **CONFIG, **fields})).eval()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write a checkpoint in our format with a tokenizer of 257 tokens."""
    save_checkpoint(small_model(), tmp_path / "checkpoint", train_tokenizer(iter([]), 257))
    return tmp_path / "checkpoint"


class WritesAFile:
    """The content of a hostile pickle: loading it calls `os.system`."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.file}",)


@pytest.mark.parametrize("container", ["torch", "legacy torch", "bare pickle"])
@pytest.mark.parametrize("place", ["tensor", "all"])
def test_a_file_that_would_run_code_is_refused_and_runs_nothing(
    container: str, place: str, tmp_path: Path
) -> None:
    mark, file = tmp_path / "ran", tmp_path / "model_final.pth"
    hostile = WritesAFile(mark)
    state = {"embed.W_E": hostile} if place == "tensor" else hostile
    if container == "bare pickle":
        file.write_bytes(pickle.dumps(state))
    else:
        torch.save(state, file, _use_new_zipfile_serialization=container == "torch")
    config = {"d_model": 8, "act_fn": "solu_ln", "normalization": "LN", "attn_only": False} | CONFIG
    (tmp_path / "config.json").write_text(json.dumps(config | {"d_vocab": 20}))
    with pytest.raises(CheckpointError, match=r"refused: loading it would call \w+.system.*Nothing was run"):
        load_checkpoint(tmp_path)
    assert not mark.exists()
    # The file is hostile: loading it without `weights_only` runs its code.
    if container == "bare pickle":
        pickle.loads(file.read_bytes())
        assert mark.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "damaged"), (b"PK\x03\x04 cut", "damaged"), (b"no weights at all", "damaged|refused")],
)
@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_damaged_weights(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        WeightFiles([tmp_path / name])


def test_only_named_tensors_are_weights(tmp_path: Path) -> None:
    torch.save({"model": {"w": torch.zeros(1)}, "step": 3}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"more than tensors: 'model' \(dict\), 'step' \(int\)"):
        WeightFiles([tmp_path / "w.pth"])
    torch.save([torch.zeros(1)], tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="holds a list"):
        WeightFiles([tmp_path / "w.pth"])
    with pytest.raises(CheckpointError, match="not a weights file"):
        WeightFiles([tmp_path / "w.txt"])


def test_our_format_round_trips(folder: Path) -> None:
    model, tokenizer = load_checkpoint(folder)
    assert tokenizer is not None
    assert len(tokenizer) == 257
    assert not model.training
    want = small_model().state_dict()
    assert all(torch.equal(t, want[n]) for n, t in model.state_dict().items())


def test_misfit_of_our_format_names_everything(folder: Path) -> None:
    state = small_model().state_dict()
    del state["embed.W_E"]
    save_file(state | {"extra": torch.zeros(2), "ln_final.w": torch.ones(9)}, folder / "model.safetensors")
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(folder)
    for part in (
        "missing embed.W_E",
        "unexpected extra [2]",
        "ln_final.w is [9] where config.json implies [8]",
    ):
        assert part in str(caught.value)


def test_without_a_tokenizer_the_model_still_loads(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "tokenizer.json").rename(folder.parent / "elsewhere.json")
    model, tokenizer = load_checkpoint(folder)
    assert tokenizer is None
    assert model.config.d_vocab == 257
    assert "--tokenizer PATH" in caplog.text
    with pytest.raises(CheckpointError, match=r"has no tokenizer.json: copy the whole .*--tokenizer PATH"):
        load_with_tokenizer(folder)
    _, given = load_checkpoint(folder, tokenizer=folder.parent / "elsewhere.json")
    assert given is not None
    assert len(given) == 257
    with pytest.raises(CheckpointError, match=r"has no tokenizer.json"):
        load_checkpoint(folder, tokenizer=folder)


def test_a_named_tokenizer_that_cannot_be_loaded_is_none(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert run("convert", str(folder), str(tmp_path / "theirs"), "--to", "transformerlens").exit_code == 0
    (tmp_path / "theirs" / "tokenizer.json").unlink()
    file = tmp_path / "theirs" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"tokenizer_name": "EleutherAI/gpt-neox-20b"}))
    _, tokenizer = load_checkpoint(tmp_path / "theirs")
    assert tokenizer is None
    assert "names the tokenizer 'EleutherAI/gpt-neox-20b', which could not be loaded" in caplog.text
    assert "--tokenizer PATH" in caplog.text


def test_a_tokenizer_of_another_model_is_refused(folder: Path, tmp_path: Path) -> None:
    save_checkpoint(small_model(d_vocab=300), tmp_path / "other")
    for d_vocab in (200, 1300):
        save_checkpoint(small_model(d_vocab=d_vocab), tmp_path / "other")
        with pytest.raises(CheckpointError, match=rf"d_vocab = {d_vocab} with a tokenizer of 257 tokens"):
            load_checkpoint(tmp_path / "other", tokenizer=folder)
    for d_vocab in (259, 300, 1200):  # a padded embedding
        save_checkpoint(small_model(d_vocab=d_vocab), tmp_path / "other")
        assert load_checkpoint(tmp_path / "other", tokenizer=folder)[1] is not None


@pytest.mark.parametrize("name", ["NeelNanda/SoLU_1L512W_C4_Code", "solu-12l-pile"])
def test_the_error_of_an_unreachable_hub_states_the_fix(name: str) -> None:
    with pytest.raises(
        CheckpointError, match=r"downloading it from the hub failed.*Copy the repository into a folder"
    ):
        load_checkpoint(name)


@pytest.mark.parametrize("error", [ConnectionError("refused"), TimeoutError()])
def test_network_errors_are_named(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> str:
        raise error

    monkeypatch.setattr(hub, "snapshot_download", fail)
    with pytest.raises(CheckpointError, match=type(error).__name__):
        load_checkpoint("owner/name")


@pytest.mark.parametrize("path", ["nowhere", "./no/where", "/no/where", Path("no/where")])
def test_a_path_that_is_neither_folder_nor_hub_name_is_refused(path: str | Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"is not a folder: expected a checkpoint with config.json, or a hub"
    ):
        load_checkpoint(path)


def test_a_hub_name_fetches_only_what_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def snapshot(name: str, allow_patterns: list[str]) -> str:
        calls.append((name, allow_patterns))
        return str(folder)

    monkeypatch.setattr(hub, "snapshot_download", snapshot)
    load_checkpoint("solu-6l")
    assert calls[0][0] == "NeelNanda/SoLU_6L768W_C4_Code"
    assert not any("checkpoints/" in pattern or pattern == "*" for pattern in calls[0][1])
    with pytest.raises(CheckpointError, match="not in TransformerLens's format"):
        load_checkpoint("owner/name", tokens=4_000_000)
    assert "checkpoints/*_000004000000.pth" in calls[1][1]
    assert "*final.pth" not in calls[1][1]


@pytest.mark.parametrize("form", ["shards", "pickled"])
def test_a_hub_name_of_another_model_fetches_all_its_weights(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = tmp_path / "hub"
    config = GPT2Config(n_embd=8, n_layer=1, n_head=2, vocab_size=257, n_positions=8)
    GPT2LMHeadModel(config).save_pretrained(files, max_shard_size="3KB" if form == "shards" else "1GB")
    train_tokenizer(iter([]), 257).save_pretrained(files)
    if form == "pickled":
        torch.save(load_file(files / "model.safetensors"), files / "pytorch_model.bin")
        (files / "model.safetensors").unlink()
    calls = []

    def snapshot(name: str, allow_patterns: list[str]) -> str:
        calls.append(name)
        fetched = tmp_path / f"snapshot-{len(calls)}"
        fetched.mkdir()
        for file in files.iterdir():
            if any(fnmatch(file.name, pattern) for pattern in allow_patterns):
                shutil.copy(file, fetched)
        return str(fetched)

    monkeypatch.setattr(hub, "snapshot_download", snapshot)
    model, tokenizer = load_neuron_model("owner/name")
    assert (model.config.act_fn, len(tokenizer)) == ("gelu_new", 257)
    assert calls == ["owner/name"] * (2 if form == "pickled" else 1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "holds a list: expected a JSON object"),
        ('{"model_type": "gpt2"}', "type 'gpt2'.*solu_model.load_neuron_model"),
        ('{"model_type": "solu", "act_fn": "relu"}', "describes no valid model"),
    ],
)
def test_unknown_configurations_are_refused(content: str, message: str, folder: Path) -> None:
    (folder / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(folder)


def test_missing_files(folder: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"no model.safetensors"):
        load_checkpoint(folder)
    with pytest.raises(CheckpointError, match=r"no config.json"):
        load_checkpoint(tmp_path)


def run(*args: str) -> Any:
    app = typer.Typer()
    app.command()(convert)
    app.command("other")(lambda: None)
    return CliRunner().invoke(app, args)


def test_convert_there_and_back(folder: Path, tmp_path: Path) -> None:
    written = run("convert", str(folder), str(tmp_path / "theirs"), "--to", "transformerlens")
    assert written.exit_code == 0, written.output
    assert {f.name for f in (tmp_path / "theirs").iterdir()} >= {
        "config.json",
        "model_final.pth",
        "tokenizer.json",
    }
    back = run("convert", str(tmp_path / "theirs"), str(tmp_path / "ours"))
    assert back.exit_code == 0, back.output
    assert "solu_ln, 1 layers of 16 neurons, with a tokenizer" in back.output
    first, second = load_checkpoint(folder), load_checkpoint(tmp_path / "ours")
    assert all(torch.equal(t, second[0].state_dict()[n]) for n, t in first[0].state_dict().items())
    assert second[0].config.bos_token_id == first[0].config.bos_token_id == 0
    assert second[1] is not None


def test_a_folder_whose_name_is_not_utf8_is_no_damage(folder: Path, tmp_path: Path) -> None:
    other = Path(os.fsdecode(os.fsencode(tmp_path) + b"/model\xff"))
    shutil.copytree(folder, other)
    with pytest.raises(CheckpointError, match=r"model\\xff is not UTF-8, .*: rename the folder"):
        load_checkpoint(other)


FULL = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
from dashboard.cli import main
main()
"""


@pytest.mark.parametrize("form", ["solu", "transformerlens"])
def test_convert_on_a_full_disk_is_a_sentence_and_leaves_nothing(
    folder: Path, tmp_path: Path, form: str
) -> None:
    out = tmp_path / "out"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", FULL, "convert", str(folder), str(out), "--to", form]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "out cannot be written" in done.stderr
    assert "Traceback" not in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint"]


def test_convert_refuses_to_overwrite_and_reports_errors(folder: Path, tmp_path: Path) -> None:
    before = sorted(f.name for f in folder.iterdir())
    refused = run("convert", str(folder), str(folder))
    assert refused.exit_code == 1
    assert "not an empty folder" in refused.output
    assert sorted(f.name for f in folder.iterdir()) == before
    assert run("convert", str(tmp_path / "nothing"), str(tmp_path / "out")).exit_code == 1
    logging.getLogger().handlers.clear()


def test_convert_an_exponential_model(tmp_path: Path) -> None:
    save_checkpoint(small_model(act_fn="exp_ln"), tmp_path / "exp")
    done = run("convert", str(tmp_path / "exp"), str(tmp_path / "solu"), "--to-solu-ln")
    assert done.exit_code == 0, done.output
    assert load_checkpoint(tmp_path / "solu")[0].config.act_fn == "solu_ln"


def test_convert_says_that_the_disk_is_full(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("solu_model.loading.checkpoints.save_file", full)
    done = run("convert", str(folder), str(tmp_path / "out"))
    assert done.exit_code == 1
    assert "No space left on device" in done.output
    assert not (tmp_path / "out").exists()
    logging.getLogger().handlers.clear()
