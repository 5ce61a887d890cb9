"""Losses by source: every document once, any name of a source, and what is refused."""

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from dashboard.cli import app
from solu_model import load_checkpoint
from solu_model.evaluation.held_out_loss import EvaluationError, evaluate
from solu_model.evaluation.losses import Loss, Losses, holds_losses, losses_by_source
from solu_model.text.documents import Document

SOURCES = ["", "all", "__class__", "sources", "漢字\n\x1b[31m[red]", "x" * 3000]


def documents(sources: list[str]) -> list[Document]:
    return [Document(f"the lamp {n} was lit " * (n + 1), source) for n, source in enumerate(sources)]


def alone(checkpoint: Path, document: Document) -> tuple[float, int]:
    """Return the sum of nats of a document shorter than a context, and its tokens, from the logits."""
    model, tokenizer = load_checkpoint(checkpoint)
    total, ids = 0.0, tokenizer(document.text, add_special_tokens=False)["input_ids"]
    for start in range(0, len(ids), 31):
        row = torch.tensor([[0, *ids[start : start + 31]]])
        logp = model(row).logits[0, :-1].detach().double().log_softmax(-1)
        total -= float(logp.gather(1, row[0, 1:, None]).sum())
    return total, len(ids)


@pytest.mark.parametrize("sources", [[""], ["", ""], ["all"], ["", "all", "prose"], SOURCES])
def test_every_document_counts_once_whatever_its_source_is_called(
    tiny_checkpoint: Path, sources: list[str]
) -> None:
    model, tokenizer = load_checkpoint(tiny_checkpoint)
    texts = documents(sources)
    losses = evaluate(model, tokenizer, iter(texts), progress=False)
    expected = [alone(tiny_checkpoint, document) for document in texts]
    assert losses.total.nats == pytest.approx(sum(nats for nats, _ in expected), rel=1e-5)
    assert losses.total.n_tokens == sum(n for _, n in expected)
    assert losses.total.n_bytes == sum(len(d.text.encode()) for d in texts)
    assert losses.by_source.keys() == set(sources)
    for source in sources:
        own = [e for e, d in zip(expected, texts, strict=True) if d.source == source]
        assert losses.by_source[source].nats == pytest.approx(sum(nats for nats, _ in own), rel=1e-5)


def test_the_command_writes_and_prints_the_total_apart_from_the_sources(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    data, out = tmp_path / "text.jsonl", tmp_path / "evaluation.json"
    texts = documents(SOURCES)
    data.write_text("".join(json.dumps({"text": d.text, "source": d.source}) + "\n" for d in texts))
    command = ["evaluate", "--model", str(tiny_checkpoint), "--data", str(data), "--out", str(out)]
    run = CliRunner().invoke(app, command)
    assert run.exit_code == 0, run.output
    assert "\x1b[31m" not in run.output
    said = json.loads(out.read_text())
    assert said["all"]["n_tokens"] == sum(entry["n_tokens"] for entry in said["sources"].values())
    assert len(said["sources"]) >= len(SOURCES) - 1  # reading may fill in an empty source
    assert said["sources"]["all"] != said["all"]
    assert f"{said['all']['n_tokens']:,}" in run.output
    assert CliRunner().invoke(app, command).exit_code == 0, "an older result is replaced"


@pytest.mark.parametrize("content", ["notes", "[]", '{"all": 3}', '{"model_type": "solu"}'])
def test_a_file_that_is_no_result_is_refused_before_the_work(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    out = tmp_path / "notes.txt"
    out.write_text(content)
    monkeypatch.setattr("solu_model.loading.checkpoints.load_with_tokenizer", lambda *_, **__: 1 / 0)
    for options in (["--data", str(tmp_path)], ["--tasks", "all", "--sets", str(tmp_path)]):
        command = ["evaluate", "--model", str(tiny_checkpoint), "--out", str(out), *options]
        run = CliRunner().invoke(app, command)
        assert "notes.txt exists and holds no" in str(run.exception)
    assert out.read_text() == content


def test_no_document_and_no_number_are_refused(tiny_checkpoint: Path, tmp_path: Path) -> None:
    model, tokenizer = load_checkpoint(tiny_checkpoint)
    for n in (0, -1):
        with pytest.raises(EvaluationError, match=f"expected at least 1 document .*, got {n}"):
            evaluate(model, tokenizer, iter(documents(["a"])), max_documents=n, progress=False)
    with pytest.raises(EvaluationError, match="the text has no token"):
        evaluate(model, tokenizer, iter([]), progress=False)
    assert evaluate(
        model, tokenizer, iter(documents(["a", "b"])), max_documents=1, progress=False
    ).total.n_bytes
    with torch.no_grad():
        model.unembed.b_U.fill_(torch.nan)
    with pytest.raises(
        EvaluationError, match=r"the loss on document [12] of the text \(source '[ab]'\) is nan"
    ):
        evaluate(model, tokenizer, iter(documents(["a", "b"])), progress=False)
    command = ["evaluate", "--model", str(tiny_checkpoint), "--data", str(tmp_path), "--max-documents", "0"]
    assert CliRunner().invoke(app, command).exit_code == 2


def test_files_of_before_and_of_now_are_read(tmp_path: Path) -> None:
    entry = {"n_tokens": 1, "n_bytes": 2, "nats_per_token": 3.0, "bits_per_byte": 4.0}
    old = {"all": entry, "prose": entry, "sources": entry}
    assert losses_by_source(old) == {"prose": entry, "sources": entry}
    assert losses_by_source({"all": entry, "sources": {"all": entry, "": entry}}) == {"all": entry, "": entry}
    assert losses_by_source({}) == {}
    file = tmp_path / "evaluation.json"
    Losses(Loss(1.0, 1, 1), {"sources": Loss(1.0, 1, 1)}).save(file)
    assert holds_losses(file)
    assert losses_by_source(json.loads(file.read_text())).keys() == {"sources"}
    file.write_text(json.dumps(old))
    assert holds_losses(file)
    for text in ("{", "[" * 100_000, "[]", "{}", "null", '{"all": []}'):
        file.write_text(text)
        assert not holds_losses(file)
