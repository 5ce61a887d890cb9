"""Evaluation reads the text's own tokens: with any BOS or none, whatever the tokenizer's file asks for."""

import json
import shutil
from dataclasses import replace
from math import log
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from dashboard.cli import app
from solu_model import Tokenization, evaluate, load_checkpoint, load_tokenizer
from solu_model.config import SoluConfig
from solu_model.evaluation.held_out_loss import EvaluationError
from solu_model.loading.checkpoints import CheckpointError
from solu_model.text.documents import Document
from solu_model.text.tokenizer_error import TokenizerError
from solu_model.training import Recipe, train
from tests.tokenizer_kinds import tokenizer_of

TEXTS = [
    "The lamp was lit at 8 o'clock, and the doctor spoke of the sea. " * 3,
    "def f(x):\n    return x",
    "x",
]


@pytest.fixture
def folder(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_checkpoint, tmp_path / "m", ignore=shutil.ignore_patterns("neurons"))


def change(file: Path, **fields: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def documents() -> list[Document]:
    return [Document(text, source="a") for text in TEXTS]


@pytest.mark.parametrize(("bos", "n_ctx"), [("none", 32), ("none", 5), ("none", 2), ("7", 32), ("0", 5)])
def test_every_token_is_predicted_but_the_first_of_a_context_without_a_bos(folder, bos, n_ctx):
    model, tokenizer = load_checkpoint(folder)
    assert tokenizer is not None
    tokenization = Tokenization.of(model.config, tokenizer, bos=bos, n_ctx=n_ctx)
    loss = evaluate(model, tokenization, iter(documents()), progress=False).by_source["a"]
    lead = [] if bos == "none" else [int(bos)]
    nats, n_tokens, n_bytes = 0.0, 0, sum(len(text.encode()) for text in TEXTS)
    for text in TEXTS:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        for start in range(0, len(ids), n_ctx - len(lead)):
            row = [*lead, *ids[start : start + n_ctx - len(lead)]]
            with torch.inference_mode():
                logp = model(torch.tensor([row])).logits[0].log_softmax(-1)
            nats -= sum(float(logp[t - 1, row[t]]) for t in range(1, len(row)))
            n_tokens += len(row) - 1
            n_bytes -= 0 if lead else len(tokenization.token_bytes[row[0]])
    assert (loss.n_tokens, loss.n_bytes) == (n_tokens, n_bytes)
    assert loss.nats == pytest.approx(nats, rel=1e-5)
    assert loss.bits_per_byte == pytest.approx(nats / log(2) / max(n_bytes, 1), rel=1e-5)


def test_contexts_in_which_nothing_is_predicted_are_refused(folder):
    model, tokenizer = load_checkpoint(folder)
    assert tokenizer is not None
    tokenization = Tokenization.of(model.config, tokenizer, bos="none", n_ctx=1)
    with pytest.raises(
        EvaluationError, match=r"no context predicts a token.*more than one token \(--n-ctx\)"
    ):
        evaluate(model, tokenization, iter(documents()), progress=False)


def test_truncation_and_padding_that_a_file_asks_for_change_nothing(folder):
    model, plain = load_checkpoint(folder)
    expected = evaluate(model, plain, iter(documents()), progress=False)
    truncation = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
    change(folder / "tokenizer.json", truncation=truncation)
    stored = load_tokenizer(folder)
    assert len(stored.backend_tokenizer.encode(TEXTS[0]).ids) == 3
    assert evaluate(model, stored, iter(documents()), progress=False) == expected
    plain(TEXTS[0], truncation=True, max_length=2)
    assert evaluate(model, plain, iter(documents()), progress=False) == expected


def test_the_command_names_both_bos_and_takes_a_choice(folder, tmp_path):
    change(folder / "config.json", bos_token_id=5)
    (tmp_path / "text.txt").write_text(TEXTS[0])
    command = ["evaluate", "--model", str(folder), "--data", str(tmp_path / "text.txt")]
    refused = CliRunner().invoke(app, command)
    assert isinstance(refused.exception, TokenizerError)
    assert "BOS is token 0 '<|BOS|>', and config.json says bos_token_id = 5" in str(refused.exception)
    losses = []
    for more in (["--bos", "0"], ["--bos", "5"], ["--bos", "none", "--n-ctx", "9"]):
        done = CliRunner().invoke(app, [*command, *more, "--out", str(tmp_path / "out.json")])
        assert done.exit_code == 0, done.output
        losses.append(json.loads((tmp_path / "out.json").read_text())["all"]["nats_per_token"])
    assert len(set(losses)) == 3


def test_a_bos_of_null_in_the_configuration_is_the_tokenizers(folder):
    change(folder / "config.json", bos_token_id=None)
    model, tokenizer = load_checkpoint(folder)
    assert model.config.bos_token_id == 0
    assert evaluate(model, tokenizer, iter(documents()), progress=False).total.n_tokens == 91


def test_without_any_bos_one_is_to_be_chosen(folder):
    change(folder / "config.json", bos_token_id=None)
    tokenizer = load_tokenizer(folder)
    tokenizer.bos_token = None
    model, _ = load_checkpoint(folder)
    model.config.bos_token_id = None
    with pytest.raises(TokenizerError, match=r"neither the tokenizer nor config.json names a BOS"):
        evaluate(model, tokenizer, iter(documents()), progress=False)


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"[]",
        b'{"model": {"type": "BPE", "vocab": {"a": -1}, "merges": []}}',
        b"\xff\xfe",
        b'{"a":' * 100_000,
    ],
)
def test_a_damaged_tokenizer_is_refused_in_a_sentence(folder, content):
    (folder / "tokenizer.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"tokenizer\.json is damaged") as error:
        load_checkpoint(folder)
    assert len(str(error.value)) < 700


def test_a_trained_model_states_the_bos_of_its_tokenizer(corpus, tmp_path):
    tokenizer = tokenizer_of("byte-level")
    tokenizer.save_pretrained(tmp_path / "t")
    config = SoluConfig(d_vocab=300, n_ctx=8, d_model=16, n_heads=2, d_head=8, d_mlp=16)
    recipe = replace(Recipe(n_tokens=4 * 64), batch_tokens=64, warmup_steps=1, bf16=False)
    train(config, recipe, [corpus], tmp_path / "run", tokenizer=tmp_path / "t", progress=False)
    model, own = load_checkpoint(tmp_path / "run")
    assert own is not None
    assert model.config.bos_token_id == own.bos_token_id == 1
    assert Tokenization.of(model.config, own).bos_id == 1
