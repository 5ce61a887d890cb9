"""The same run on several processes: the same numbers in every layout, and a kill loses nothing."""

import json
import os
import random
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file

from solu_model.text.token_file import TokenFile
from solu_model.training import TrainingError, last_checkpoint, read_metrics, train
from solu_model.training.batches import Batches
from solu_model.training.processes import Layout, launched
from tests.test_solu_model.training.worker import CONFIG, RECIPE, gradients

ROOT = Path(__file__).parents[3]
LAYOUTS = {"replicas": (2, 1, 1), "shards": (2, 2, 1), "tensor": (2, 1, 2), "shards of tensor": (4, 2, 2)}
"""Processes, and how many of them are shards and tensor parallel parts."""


def start(
    n: int, shard: int, tensor: int, corpus: Path, out: Path, gradients: str = ""
) -> "subprocess.Popen[str]":
    """`torchrun` with so many workers that train."""
    said = {"shard": shard, "tensor": tensor, "corpus": str(corpus), "out": str(out), "gradients": gradients}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(n)]
    command += ["-m", "tests.test_solu_model.training.worker", json.dumps(said)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)


def kill(process: "subprocess.Popen[str]") -> None:
    """With SIGKILL: `torchrun` and its workers, which would outlive it."""
    with suppress(psutil.NoSuchProcess):
        workers = psutil.Process(process.pid).children(recursive=True)
        for one in [psutil.Process(process.pid), *workers]:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        psutil.wait_procs(workers, timeout=30)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Path:
    """The run on one process."""
    out = tmp_path_factory.mktemp("runs") / "one"
    train(CONFIG, RECIPE, [corpus], out, progress=False)
    return out


@pytest.mark.parametrize(
    "layout",
    [
        "replicas",
        "shards of tensor",
        # Both parts of the one above, each by itself.
        *(pytest.param(one, marks=pytest.mark.slow) for one in ("shards", "tensor")),
    ],
)
def test_loss_gradients_and_run_are_those_of_one_process(
    layout: str, run: Path, corpus: Path, tmp_path: Path
) -> None:
    n, shard, tensor = LAYOUTS[layout]
    with start(n, shard, tensor, corpus, tmp_path / "run", gradients=str(tmp_path / "found.pt")) as process:
        try:
            said = process.communicate(timeout=200)[1]
        except subprocess.TimeoutExpired:
            kill(process)
            raise
    assert process.returncode == 0, said[-4000:]
    same_end(run, tmp_path / "run")
    found = torch.load(tmp_path / "found.pt", weights_only=True)
    alone = gradients(Layout())
    assert found["loss"] == pytest.approx(alone["loss"], rel=1e-6)
    assert found["norm"] == pytest.approx(alone["norm"], rel=1e-5)
    plain = torch.stack([g.norm() for g in alone["gradients"].values()]).norm()
    assert alone["norm"] == pytest.approx(float(plain), rel=1e-5)
    assert found["gradients"].keys() == alone["gradients"].keys()
    for name, gradient in alone["gradients"].items():
        rounding = max(1e-5 * float(gradient.abs().max()), 1e-7 * float(plain))
        torch.testing.assert_close(found["gradients"][name], gradient, rtol=1e-5, atol=rounding)
        clipped = gradient * min(1.0, 1.0 / float(plain))
        torch.testing.assert_close(found["clipped"][name], clipped, rtol=1e-4, atol=rounding)
    if layout == "tensor":  # one sum an MLP, and one of its input's gradients
        assert found["forward"] == found["backward"] == {"all_reduce": CONFIG.n_layers}
    assert alone["forward"] == {}


def same_end(run: Path, other: Path) -> None:
    """Both logged the same steps with the same losses, and hold the same weights, as far as rounding goes."""
    one, two = (read_metrics(p / "metrics.jsonl") for p in (run, other))
    assert [row["step"] for row in one] == [row["step"] for row in two] == list(range(2, 41, 2))
    assert [row["loss"] for row in two] == pytest.approx([row["loss"] for row in one], abs=2e-5)
    weights = [load_file(p / "model.safetensors") for p in (run, other)]
    assert weights[0].keys() == weights[1].keys()
    for name, weight in weights[0].items():
        if name.endswith(
            "attn.b_K"
        ):  # softmax takes it out: its gradient is rounding, of which Adam makes steps
            continue
        torch.testing.assert_close(weight, weights[1][name], rtol=0.02, atol=1e-3)  # they are in bf16


def test_killed_at_random_moments_and_resumed_on_other_processes(
    run: Path, corpus: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    chance = random.Random(3)
    done = [0]
    for n, shard, tensor in [(2, 2, 1), (2, 1, 2)]:
        with start(n, shard, tensor, corpus, out) as process:
            deadline = time.monotonic() + 200
            while (last := last_checkpoint(out / "checkpoints")) is None or steps(last) <= done[-1]:
                assert time.monotonic() < deadline, "no checkpoint was written"
                if process.poll() is not None:
                    break
                time.sleep(0.01)
            time.sleep(chance.random() * 0.1)
            kill(process)
        done.append(steps(last_checkpoint(out / "checkpoints")))
    assert 0 < done[1] < 40, f"killed after the checkpoints at steps {done[1:]}"
    train(CONFIG, RECIPE, [corpus], out, progress=False)
    same_end(run, out)


def steps(checkpoint: Path | None) -> int:
    assert checkpoint is not None
    return int(json.loads((checkpoint / "state.json").read_text())["step"])


def test_every_row_is_read_once_an_epoch_however_many_share_it(run: Path) -> None:
    tokens = TokenFile(run / "tokens")
    there = tokens.n_rows(16)
    alone = Batches(tokens, 16, 4, seed=0)
    n_steps = 2 * alone.steps_per_epoch
    for n_parts in (2, 4):
        shared = [Batches(tokens, 16, 4, seed=0, part=part, n_parts=n_parts) for part in range(n_parts)]
        for step in range(n_steps):
            assert [row for b in shared for row in b.rows_of(step)] == alone.rows_of(step)
    for epoch in range(2):
        first = epoch * alone.steps_per_epoch
        read = [row for k in range(alone.steps_per_epoch) for row in alone.rows_of(first + k)]
        assert len(read) == len(set(read)) == there // 4 * 4
        assert set(read) <= set(range(there))
    assert alone.rows_of(0) != alone.rows_of(alone.steps_per_epoch)
    with pytest.raises(TrainingError, match="4 rows cannot be shared evenly by 3"):
        Batches(tokens, 16, 4, seed=0, n_parts=3)


def test_a_token_that_the_model_does_not_have_is_named(run: Path) -> None:
    tokens = TokenFile(run / "tokens")
    largest = int(tokens.tokens[: tokens.n_rows(16) * 15].max())
    few = Batches(tokens, 16, 4, seed=0, d_vocab=largest)
    with pytest.raises(TrainingError, match=rf"tokens.bin holds token {largest}, and the model has 0 to"):
        list(few.steps(0, few.steps_per_epoch, torch.device("cpu")))
    enough = Batches(tokens, 16, 4, seed=0, d_vocab=largest + 1)
    assert len(list(enough.steps(0, enough.steps_per_epoch, torch.device("cpu")))) == enough.steps_per_epoch


TORCHRUN = {
    "WORLD_SIZE": "4", "RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500",
    "TORCHELASTIC_RUN_ID": "none",
}  # fmt: skip


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"WORLD_SIZE": "4"}, r"WORLD_SIZE=4, but torchrun did not start this process \(RANK is missing\)"),
        ({"WORLD_SIZE": "4", "RANK": "0", "MASTER_ADDR": "localhost"}, r"\(MASTER_PORT is missing\)"),
        ({"WORLD_SIZE": "4", "RANK": "0", "MASTER_PORT": "29500"}, r"\(MASTER_ADDR is missing\)"),
        ({**TORCHRUN, "TORCHELASTIC_RUN_ID": ""}, r"\(TORCHELASTIC_RUN_ID is missing\): start 4 processes"),
        ({**TORCHRUN, "RANK": ""}, r"\(RANK is missing\)"),
        ({**TORCHRUN, "RANK": "4"}, "RANK='4': expected a number, 0 to 3"),
        ({**TORCHRUN, "RANK": "-1"}, "RANK='-1': expected a number, 0 to 3"),
        ({**TORCHRUN, "RANK": "first"}, "RANK='first': expected a number"),
        ({**TORCHRUN, "MASTER_PORT": "99999"}, "MASTER_PORT='99999': expected a number, 1 to 65535"),
        ({"WORLD_SIZE": "four"}, "WORLD_SIZE='four': expected a number, at least 1"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE='0': expected a number, at least 1"),
        ({"WORLD_SIZE": "9" * 5000}, "WORLD_SIZE='9{40}': expected a number"),
    ],
)
def test_an_environment_that_torchrun_did_not_make_is_refused_at_once(
    environment: dict[str, str], said: str, tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in TORCHRUN:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name, raising=False)
    began = time.monotonic()
    with pytest.raises(TrainingError, match=said) as refusal:
        train(CONFIG, RECIPE, [corpus], tmp_path / "run", progress=False)
    assert time.monotonic() - began < 5
    assert len(str(refusal.value)) < 500
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("environment", [{"RANK": "3"}, {"WORLD_SIZE": "1", "RANK": "3"}, {"WORLD_SIZE": ""}])
def test_one_process_needs_no_launcher(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ({"WORLD_SIZE": "", "RANK": ""} | environment).items():
        monkeypatch.setenv(name, value)
    assert launched() == (0, 1)


def test_layouts_that_cannot_be_are_refused(tmp_path: Path, corpus: Path) -> None:
    with pytest.raises(TrainingError, match="3 processes cannot be laid out as shards of 2"):
        Layout(shard=2).replicas(3)
    with pytest.raises(TrainingError, match="positive"):
        Layout(tensor=0)
    with pytest.raises(TrainingError, match="start a multiple of 2"):  # without torchrun
        train(CONFIG, RECIPE, [corpus], tmp_path / "run", layout=Layout(tensor=2), progress=False)
    with pytest.raises(TrainingError, match="3 tensor parallel processes cannot share 2 blocks"):
        train(CONFIG, RECIPE, [corpus], tmp_path / "run", layout=Layout(tensor=3), progress=False)
