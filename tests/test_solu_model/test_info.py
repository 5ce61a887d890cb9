"""The command `solu info`."""

import shutil
from pathlib import Path

import typer
from typer.testing import CliRunner

from solu_model.commands.info import info
from tests.test_solu_model.loading.families import FAMILIES, random_model


def shown(folder: Path) -> str:
    app = typer.Typer()
    app.command()(info)
    done = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["--model", str(folder)])
    assert done.exit_code == 0, done.output
    return " ".join(done.output.replace("│", " ").split())


def test_our_model(tiny_checkpoint: Path) -> None:
    text = shown(tiny_checkpoint)
    for part in ("act_fn solu_ln", "d_mlp 48", "weights model.safetensors", "tokenizer 300 tokens"):
        assert part in text


def test_other_models_with_what_was_measured(tiny_checkpoint: Path, tmp_path: Path) -> None:
    for title, part in (
        ("Llama", "logit effects from the weights; an ablation differs by"),
        ("OLMo 2", "logit effects none: in layer 0 a neuron does not add a multiple of its row of W_out"),
    ):
        family = next(f for f in FAMILIES if f.title == title)
        folder = tmp_path / family.model_type
        random_model(family).save_pretrained(folder, max_shard_size="6KB")
        text = shown(folder)
        assert part in text
        assert f"model_type {family.model_type} act_fn silu n_layers 3" in text
        assert "weights 6 files, model-00001-of-00006.safetensors ..." in text
        assert "tokenizer none: " in text
        shutil.copy(tiny_checkpoint / "tokenizer.json", folder)
        assert "tokenizer 300 tokens" in shown(folder)
