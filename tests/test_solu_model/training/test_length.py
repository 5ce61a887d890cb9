"""Schedules, runs that are lengthened or ended early, runs that are asked to stop, weights along the way."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from solu_model import load_checkpoint
from solu_model.training import Recipe, Stopped, TrainingError, read_metrics, train
from solu_model.training import loop as training_loop
from solu_model.training.checkpoints import all_checkpoints
from solu_model.training.snapshots import snapshot_steps
from tests.test_solu_model.training.test_training import CONFIG, RECIPE

WSD = replace(RECIPE, schedule="wsd", optimizer="muon", decay_share=0.25, snapshots=1)
"""40 steps, of which the last 10 decay."""
TIMES = {"tokens_per_s", "waiting"}


@pytest.fixture(scope="module", autouse=True)
def early_snapshots() -> Any:
    """Snapshots from 512 tokens on: after steps 8, 16, 32 and the last."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("solu_model.training.snapshots.FIRST_SNAPSHOT", 512)
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Path:
    """40 steps of `WSD`."""
    out = tmp_path_factory.mktemp("runs") / "short"
    train(CONFIG, WSD, [corpus], out, progress=False, held_out=[corpus])
    return out


@pytest.fixture(scope="module")
def longer(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Path:
    """60 steps of the same, in one go."""
    out = tmp_path_factory.mktemp("runs") / "longer"
    train(CONFIG, replace(WSD, n_tokens=60 * 64), [corpus], out, progress=False)
    return out


def copied(run: Path, out: Path) -> Path:
    shutil.copytree(run, out, symlinks=True)
    return out


def assert_same_run(one: Path, two: Path) -> None:
    """The same weights, bit for bit, at the end and along the way, and the same rows but for their times."""
    folders = [sorted(p.name for p in (run / "snapshots").iterdir()) for run in (one, two)]
    assert folders[0] == folders[1]
    for name in ["model.safetensors", *(f"snapshots/{folder}/model.safetensors" for folder in folders[0])]:
        first, second = (load_file(run / name) for run in (one, two))
        assert first.keys() == second.keys()
        assert all(torch.equal(first[key], second[key]) for key in first)
    rows = [
        [
            {k: v for k, v in row.items() if k not in TIMES and not k.startswith("held_out")}
            for row in read_metrics(run / "metrics.jsonl")
        ]
        for run in (one, two)
    ]
    assert rows[0] == rows[1]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("linear", {0: 0.0, 2: 0.5, 4: 1.0, 12: 0.5, 19: 1 / 16, 20: 0.0}),
        ("cosine", {0: 0.0, 2: 0.5, 4: 1.0, 8: (1 + math.sqrt(0.5)) / 2, 12: 0.5, 20: 0.0}),
        ("wsd", {0: 0.0, 2: 0.5, 4: 1.0, 10: 1.0, 15: 1.0, 16: 0.8, 19: 0.2, 20: 0.0}),
    ],
)
def test_rates_by_hand(schedule, expected):
    recipe = Recipe(
        n_tokens=20 * 64, batch_tokens=64, learning_rate=3.0, warmup_steps=4, schedule=schedule,
        decay_share=0.25,
    )  # fmt: skip
    for step, share in expected.items():
        assert recipe.learning_rate_at(step) == pytest.approx(3.0 * share, abs=1e-12), step


@pytest.mark.parametrize("schedule", ["linear", "cosine", "wsd"])
@pytest.mark.parametrize("n_steps", [5, 122, 999, 1000, 5000])
def test_a_short_run_reaches_the_peak_and_ends_low(schedule, n_steps):
    """The warm-up that is not given takes a fifth of a short run, 200 steps of a long one."""
    recipe = Recipe(n_tokens=n_steps * 64, batch_tokens=64, schedule=schedule)
    rates = [recipe.learning_rate_at(step) for step in range(n_steps)]
    peak = rates.index(max(rates))
    assert max(rates) == pytest.approx(recipe.learning_rate)
    assert peak == min(200, n_steps // 5)
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert rates[-1] <= recipe.learning_rate / max(1, n_steps // 5) * 1.01


def test_a_run_decayed_within_its_warm_up_falls_too():
    recipe = Recipe(n_tokens=125 * 64, batch_tokens=64, schedule="wsd", warmup_steps=200)
    rates = [recipe.learning_rate_at(step) for step in range(125)]
    assert rates[:100] == pytest.approx([recipe.learning_rate * step / 200 for step in range(100)])
    assert rates[-1] == pytest.approx(recipe.learning_rate / 25)
    for schedule in ("linear", "cosine", "wsd"):
        one = Recipe(n_tokens=1, batch_tokens=64, warmup_steps=0, schedule=schedule, decay_share=1.0)
        assert one.n_steps() == 1
        assert 0 <= one.learning_rate_at(0) <= one.learning_rate


def test_a_curve_has_rows_however_short_the_run():
    def rows(n_steps: int) -> int:
        return -(-n_steps // Recipe(n_tokens=n_steps * 8192).log_steps())

    assert [rows(n) for n in (1, 5, 19, 20, 122, 399)] == [1, 5, 19, 10, 13, 20]
    assert Recipe(n_tokens=240_000_000).log_steps() == 20
    for n_steps in range(1, 900):
        steps = Recipe(n_tokens=n_steps * 8192).log_steps()
        assert 20 % steps == 0, "rows with the held-out loss are among these"


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("schedule", "step", "schedule must be one of linear, cosine, wsd, got 'step'"),
        ("optimizer", "sgd", "optimizer must be one of adamw, muon, got 'sgd'"),
        ("decay_share", 0.0, "decay_share must be above 0 and at most 1, got 0.0"),
        ("batch_tokens", 0, "batch_tokens must be at least 1, got 0"),
        ("n_tokens", 0, "n_tokens must be at least 1, got 0"),
        ("accumulate", 0, "accumulate must be at least 1, got 0"),
        ("snapshots", -1, "snapshots must be at least 0 and at most 1000, got -1"),
        ("snapshots", 10**9, "snapshots must be at least 0 and at most 1000, got 1000000000"),
        ("warmup_steps", -1, "warmup_steps must be at least 0, got -1"),
        ("seed", -1, "seed must be at least 0 and at most 4294967295, got -1"),
        ("seed", 2**70, "seed must be at least 0 and at most 4294967295"),
        ("learning_rate", math.nan, "learning_rate must be finite and above 0, got nan"),
        ("learning_rate", math.inf, "learning_rate must be finite and above 0, got inf"),
        ("learning_rate", 0.0, "learning_rate must be finite and above 0, got 0.0"),
        ("decay_share", math.nan, "decay_share must be above 0"),
        ("held_out_every", 7, "held_out_every must be a multiple of log_every = 2, got 7"),
    ],
)
def test_recipes_that_cannot_be_are_refused(field, value, said):
    with pytest.raises(TrainingError, match=said):
        replace(WSD, **{field: value})


def test_an_extended_run_is_the_longer_run(run, longer, corpus, tmp_path):
    out = copied(run, tmp_path / "run")
    assert list(all_checkpoints(out / "checkpoints")) == [30, 36, 40]  # the last stable one is kept
    train(CONFIG, replace(WSD, n_tokens=60 * 64), [corpus], out, progress=False, change="extend")
    assert_same_run(out, longer)
    assert json.loads((out / "run.json").read_text()) == json.loads((longer / "run.json").read_text())
    # The same command again has nothing left to do.
    train(CONFIG, replace(WSD, n_tokens=60 * 64), [corpus], out, progress=False, change="extend")
    assert_same_run(out, longer)


def test_a_run_decayed_early_is_the_shorter_run(corpus, tmp_path, monkeypatch):
    out, recipe = tmp_path / "run", replace(WSD, n_tokens=60 * 64)

    rate_at = Recipe.learning_rate_at

    def killed_at_26(self: Recipe, step: int) -> float:
        if step == 26:
            raise KeyboardInterrupt
        return rate_at(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(Recipe, "learning_rate_at", killed_at_26)
        with pytest.raises(KeyboardInterrupt):
            train(CONFIG, recipe, [corpus], out, progress=False)
    assert list(all_checkpoints(out / "checkpoints")) == [20, 24]
    train(CONFIG, recipe, [corpus], out, progress=False, change="decay-now")
    shorter = replace(WSD, n_tokens=32 * 64)  # a quarter of 32 steps decays, after 24
    train(CONFIG, shorter, [corpus], tmp_path / "whole", progress=False)
    assert_same_run(out, tmp_path / "whole")
    assert json.loads((out / "run.json").read_text())["recipe"]["n_tokens"] == 32 * 64
    # Given again, as after a kill, it goes on with the decay that began.
    shutil.rmtree(out / "checkpoints/step-000000032")
    train(CONFIG, recipe, [corpus], out, progress=False, change="decay-now")
    assert_same_run(out, tmp_path / "whole")


@pytest.mark.parametrize(
    ("change", "recipe", "said"),
    [
        (
            None,
            replace(WSD, n_tokens=60 * 64),
            r"n_tokens is 2560 in that run and 3840 in this command. .*or --extend 3840",
        ),
        ("extend", replace(WSD, n_tokens=64), r"expected more than 2560, got 64\. To end .*--decay-now"),
        (
            "extend",
            replace(WSD, n_tokens=6400, seed=1),
            r"recipe.seed is 0 in that run and 1 in this command",
        ),
    ],
)
def test_lengths_that_cannot_be_are_refused(run, corpus, change, recipe, said):
    with pytest.raises(TrainingError, match=said):
        train(CONFIG, recipe, [corpus], run, progress=False, change=change)
    assert json.loads((run / "run.json").read_text())["recipe"]["n_tokens"] == 2560


def test_only_a_wsd_run_changes_its_length(corpus, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(TrainingError, match="holds no run whose length could be changed"):
        train(CONFIG, RECIPE, [corpus], out, progress=False, change="decay-now")
    short = replace(RECIPE, n_tokens=2 * 64, warmup_steps=1)
    train(CONFIG, short, [corpus], out, progress=False)
    for change in ("extend", "decay-now"):
        with pytest.raises(TrainingError, match="only a run with the schedule wsd"):
            train(CONFIG, replace(short, n_tokens=640), [corpus], out, progress=False, change=change)


def test_a_run_whose_stable_checkpoint_is_gone_cannot_be_extended(run, corpus, tmp_path):
    out = copied(run, tmp_path / "run")
    shutil.rmtree(out / "checkpoints/step-000000030")
    with pytest.raises(
        TrainingError, match="holds no checkpoint from before the decay, which began after step 30"
    ):
        train(CONFIG, replace(WSD, n_tokens=6400), [corpus], out, progress=False, change="extend")
    assert list(all_checkpoints(out / "checkpoints")) == [36, 40]


STOPPED = """
import os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from solu_model import SoluConfig
from solu_model.training import Recipe, loop, run, train
run.snapshot_steps.__globals__["FIRST_SNAPSHOT"] = 512
measure = loop.loss_and_gradients
calls = []
def counted(*arguments):
    calls.append(0)
    if len(calls) == 7:
        os.kill(os.getpid(), {signal})
    return measure(*arguments)
loop.loss_and_gradients = counted
train(SoluConfig.from_dict({config!r}), Recipe(**{recipe!r}), [{corpus!r}], Path(sys.argv[1]), progress=False)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_asked_to_stop_saves_first_and_ends_where_it_would_have(run, corpus, tmp_path, number):
    out = tmp_path / "run"
    code = STOPPED.format(signal=int(number), config=CONFIG.to_dict(), recipe=asdict(WSD), corpus=str(corpus))
    ended = subprocess.run(
        [sys.executable, "-c", code, str(out)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert "Stopped: stopped after step 7 of 40, which is saved in" in ended.stderr
    assert list(all_checkpoints(out / "checkpoints")) == [4, 7]  # 7 is between two rows of metrics
    train(CONFIG, WSD, [corpus], out, progress=False)
    assert_same_run(out, run)


def test_a_slow_run_saves_by_the_clock(run, corpus, tmp_path):
    """After every step here; what was kept for a longer run is the same."""
    out = tmp_path / "run"
    train(
        CONFIG, replace(WSD, save_minutes=0.0, log_every=4, held_out_every=4), [corpus], out, progress=False
    )
    assert list(all_checkpoints(out / "checkpoints")) == [30, 39, 40]
    first, second = (load_file(folder / "model.safetensors") for folder in (run, out))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_second_signal_does_what_it_did_before():
    # A shell ignores SIGINT for what it starts in the background, and the test's process inherits that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with training_loop._stop_signals() as received:
        os.kill(os.getpid(), signal.SIGINT)
        assert received == [signal.SIGINT]
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)
    assert issubclass(Stopped, TrainingError)


def test_snapshots_are_evenly_spaced_whatever_the_length():
    recipe = replace(WSD, batch_tokens=64, n_tokens=60 * 64)
    assert snapshot_steps(recipe) == [8, 16, 32, 60]
    assert snapshot_steps(replace(recipe, snapshots=2)) == [8, 11, 16, 23, 32, 45, 60]
    assert snapshot_steps(replace(recipe, snapshots=0)) == []
    assert snapshot_steps(replace(recipe, batch_tokens=1600)) == [1, 2]
    short, long = (set(snapshot_steps(replace(recipe, n_tokens=n * 64))) for n in (40, 1000))
    assert short - {40} <= long


def test_a_snapshot_is_a_checkpoint(run):
    folders = sorted(p.name for p in (run / "snapshots").iterdir())
    assert folders == [f"step-{step:09d}" for step in (8, 16, 32, 40)]
    last = load_file(run / "snapshots" / folders[-1] / "model.safetensors")
    final = load_file(run / "model.safetensors")
    assert all(torch.equal(last[name], final[name]) for name in final)
    model, tokenizer = load_checkpoint(run / "snapshots" / folders[0], tokenizer=run)
    assert tokenizer is not None
    assert not torch.equal(model.state_dict()["embed.W_E"].bfloat16(), final["embed.W_E"])


def test_the_warm_up_of_a_short_run_is_kept_when_it_is_extended(corpus, tmp_path):
    out, recipe = tmp_path / "run", replace(WSD, n_tokens=20 * 64, warmup_steps=None, snapshots=0)
    train(CONFIG, recipe, [corpus], out, progress=False)
    assert json.loads((out / "run.json").read_text())["recipe"]["warmup_steps"] == 4
    train(CONFIG, recipe, [corpus], out, progress=False)  # the same command again
    train(CONFIG, replace(recipe, n_tokens=40 * 64), [corpus], out, progress=False, change="extend")
    rates = {row["step"]: row["learning_rate"] for row in read_metrics(out / "metrics.jsonl")}
    assert all(rates[step] == 1e-2 for step in range(6, 31, 2)), "no second warm-up"
    assert rates[40] < 2e-3


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        (replace(WSD, n_tokens=63), "63 tokens are less than one step of 64 tokens: give --tokens 64"),
        (replace(WSD, warmup_steps=40), "a warm-up of 40 steps does not end in a run of 40 steps"),
        (replace(WSD, n_tokens=64, batch_tokens=8), None),
    ],
)
def test_a_run_that_is_too_short_is_refused_before_it_begins(corpus, tmp_path, recipe, said):
    out = tmp_path / "run"
    if said is None:
        train(CONFIG, replace(recipe, warmup_steps=0), [corpus], out, progress=False)
        return
    with pytest.raises(TrainingError, match=said):
        train(CONFIG, recipe, [corpus], out, progress=False)
    assert not (out / "run.json").exists()


def test_the_tokens_of_a_step_are_those_of_whole_rows(corpus, tmp_path):
    """A batch smaller than a context, or of no whole number of them."""
    for batch, step in [(5, 16), (40, 32)]:
        out = tmp_path / str(batch)
        recipe = replace(RECIPE, n_tokens=320, batch_tokens=batch)
        train(CONFIG, recipe, [corpus], out, progress=False)
        record = json.loads((out / "training.json").read_text())
        assert (record["steps"], record["tokens"]) == (320 // step, 320)
        rows = read_metrics(out / "metrics.jsonl")
        assert [row["tokens"] for row in rows] == [row["step"] * step for row in rows]
        assert rows[-1]["tokens"] == 320
        # A folder of an older version has the batch as it was given.
        said = json.loads((out / "run.json").read_text())
        said["recipe"]["batch_tokens"] = batch
        (out / "run.json").write_text(json.dumps(said))
        train(CONFIG, recipe, [corpus], out, progress=False)


def test_a_checkpoint_beyond_the_end_is_refused(run, corpus, tmp_path):
    out = copied(run, tmp_path / "run")
    said = json.loads((out / "run.json").read_text())
    said["recipe"]["n_tokens"] = 20 * 64
    (out / "run.json").write_text(json.dumps(said))
    with pytest.raises(TrainingError, match=r"step-000000040 is of step 40, but the run has 20 steps"):
        train(CONFIG, replace(WSD, n_tokens=20 * 64), [corpus], out, progress=False)
