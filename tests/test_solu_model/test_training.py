"""A run: its folder, what it says on disk, and that a kill loses nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from solu_model import SoluConfig, load_checkpoint
from solu_model.documents import read_documents
from solu_model.evaluate import evaluate
from solu_model.files import written_aside
from solu_model.run_metrics import TrainingError, read_metrics
from solu_model.training import Recipe, last_checkpoint, train

CONFIG = SoluConfig(d_vocab=300, n_ctx=16, d_model=16, n_heads=2, d_head=8, d_mlp=24)
RECIPE = Recipe(
    n_tokens=40 * 64, batch_tokens=64, learning_rate=1e-2, warmup_steps=4, tokenizer_sample=1.0,
    bf16=False, log_every=2, save_every=4,
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Path:
    out = tmp_path_factory.mktemp("runs") / "whole"
    train(CONFIG, RECIPE, [corpus], out, progress=False)
    return out


def test_the_result_loads_and_has_learned(run, corpus):
    model, tokenizer = load_checkpoint(run)
    weights = load_file(run / "model.safetensors")
    assert {w.dtype for w in weights.values()} == {torch.bfloat16}
    losses = evaluate(model, tokenizer, read_documents([corpus]), progress=False)
    assert losses[""].nats_per_token < 5.3 < torch.tensor(300.0).log()
    assert losses[""].n_bytes == sum(len(d.text.encode()) for d in read_documents([corpus]))
    assert losses[""].n_tokens == sum(losses[s].n_tokens for s in ("prose", "code", "odd"))


def test_evaluation_is_the_plain_sum_over_tokens(run, corpus):
    model, tokenizer = load_checkpoint(run)
    document = next(read_documents([corpus]))
    ids = tokenizer(document.text, add_special_tokens=False)["input_ids"]
    total = 0.0
    for start in range(0, len(ids), 15):
        row = torch.tensor([[0, *ids[start : start + 15]]])
        logp = model(row).logits[0, :-1].detach().log_softmax(-1)
        total -= float(logp.gather(1, row[0, 1:, None]).sum())
    loss = evaluate(model, tokenizer, iter([document]), progress=False)[""]
    assert (loss.n_tokens, loss.n_bytes) == (len(ids), len(document.text.encode()))
    assert loss.nats == pytest.approx(total, rel=1e-5)


def test_the_curve_is_on_disk(run):
    rows = pq.read_table(run / "curve.parquet").to_pylist()
    assert [r["step"] for r in rows] == list(range(2, 41, 2))
    assert rows == read_metrics(run / "metrics.jsonl")
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert all(r["tokens_per_s"] > 0 for r in rows)
    assert json.loads((run / "training.json").read_text())["steps"] == 40


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import torch
torch.set_num_threads(1)
from solu_model import SoluConfig
from solu_model.training import Recipe, train
train(SoluConfig.from_dict({config!r}), Recipe(**{recipe!r}), [{corpus!r}], Path(sys.argv[1]), progress=False)
"""


def test_killed_and_resumed_ends_where_it_would_have(run, corpus, tmp_path):
    from dataclasses import asdict

    code = KILLED.format(tests="", config=CONFIG.to_dict(), recipe=asdict(RECIPE), corpus=str(corpus))
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "run")], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 200
    while not list((tmp_path / "run/checkpoints").glob("checkpoint-*/complete")):
        assert time.monotonic() < deadline, "no checkpoint was written"
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    # As if the kill had come while the next checkpoint and metrics row were being written.
    (tmp_path / "run/checkpoints/checkpoint-999").mkdir()
    with open(tmp_path / "run/metrics.jsonl", "a") as stream:
        stream.write('{"step": 99')
    assert last_checkpoint(tmp_path / "run/checkpoints") is not None

    train(CONFIG, RECIPE, [corpus], tmp_path / "run", progress=False)
    whole, resumed = (load_file(p / "model.safetensors") for p in (run, tmp_path / "run"))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    losses = [
        [(r["step"], r["loss"]) for r in read_metrics(p / "metrics.jsonl")] for p in (run, tmp_path / "run")
    ]
    assert losses[0] == losses[1]


def test_another_run_in_the_folder_is_refused(run, corpus):
    with pytest.raises(
        TrainingError, match=r"holds another run: recipe.learning_rate is 0.01 there and 0.5 here"
    ):
        train(CONFIG, replace(RECIPE, learning_rate=0.5), [corpus], run, progress=False)


def test_too_little_text_is_refused(tmp_path, corpus):
    with pytest.raises(TrainingError, match=r"fills .* rows of 16 tokens, a step takes 6250"):
        train(CONFIG, replace(RECIPE, batch_tokens=100_000), [corpus], tmp_path / "run", progress=False)


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_checkpoint(tmp_path, corpus):
    recipe = replace(RECIPE, learning_rate=float("inf"), warmup_steps=30, log_every=1, save_every=1)
    with pytest.raises(TrainingError, match=r"the loss is nan at step \d+: start again in another --out"):
        train(CONFIG, recipe, [corpus], tmp_path / "run", progress=False)
    assert last_checkpoint(tmp_path / "run/checkpoints") is not None


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    target = tmp_path / "file"
    target.write_text("old")

    def fail() -> None:
        with written_aside(target) as aside:
            aside.write_text("new")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        fail()
    assert target.read_text() == "old"
    with written_aside(target) as aside:
        aside.write_text("new")
    assert target.read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
