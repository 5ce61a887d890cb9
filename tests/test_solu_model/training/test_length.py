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


def test_a_run_shorter_than_its_warm_up_never_divides_by_zero():
    for schedule in ("linear", "cosine", "wsd"):
        recipe = Recipe(n_tokens=1, batch_tokens=64, warmup_steps=0, schedule=schedule, decay_share=1.0)
        assert recipe.n_steps() == 1
        assert 0 <= recipe.learning_rate_at(0) <= recipe.learning_rate
        recipe = replace(recipe, n_tokens=640, warmup_steps=50)
        assert [recipe.learning_rate_at(s) for s in range(10)] == sorted(
            recipe.learning_rate_at(s) for s in range(10)
        )


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("schedule", "step", "schedule must be one of linear, cosine, wsd, got 'step'"),
        ("optimizer", "sgd", "optimizer must be one of adamw, muon, got 'sgd'"),
        ("decay_share", 0.0, "decay_share must be above 0 and at most 1, got 0.0"),
        ("batch_tokens", 0, "batch_tokens must be at least 1, got 0"),
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
    short = replace(RECIPE, n_tokens=2 * 64)
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
