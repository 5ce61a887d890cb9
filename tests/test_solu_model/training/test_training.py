"""A run: its folder, what it says on disk, and that a kill loses nothing."""

import errno
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
import transformers
from safetensors.torch import load_file
from typer.testing import CliRunner

from dashboard.cli import app
from solu_model import SoluConfig, load_checkpoint
from solu_model.evaluation.held_out_loss import evaluate
from solu_model.files import written_aside
from solu_model.model import SoluForCausalLM
from solu_model.text.documents import read_documents
from solu_model.text.token_file import TokenFile
from solu_model.training import Recipe, TrainingError, last_checkpoint, read_metrics, train
from solu_model.training.non_finite import first_non_finite

CONFIG = SoluConfig(d_vocab=300, n_ctx=16, d_model=16, n_heads=2, d_head=8, d_mlp=24)
RECIPE = Recipe(
    n_tokens=40 * 64, batch_tokens=64, learning_rate=1e-2, warmup_steps=4, tokenizer_sample=1.0,
    bf16=False, log_every=2, save_every=4,
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Path:
    out = tmp_path_factory.mktemp("runs") / "whole"
    train(CONFIG, RECIPE, [corpus], out, progress=False, tensorboard=True)
    return out


def test_the_result_loads_and_has_learned(run, corpus):
    model, tokenizer = load_checkpoint(run)
    weights = load_file(run / "model.safetensors")
    assert {w.dtype for w in weights.values()} == {torch.bfloat16}
    losses = evaluate(model, tokenizer, read_documents([corpus]), progress=False)
    assert losses.total.nats_per_token < 5.3 < torch.tensor(300.0).log()
    assert losses.total.n_bytes == sum(len(d.text.encode()) for d in read_documents([corpus]))
    assert losses.by_source.keys() == {"prose", "code", "odd"}
    assert losses.total.n_tokens == sum(loss.n_tokens for loss in losses.by_source.values())


def test_evaluation_is_the_plain_sum_over_tokens(run, corpus):
    model, tokenizer = load_checkpoint(run)
    document = next(read_documents([corpus]))
    ids = tokenizer(document.text, add_special_tokens=False)["input_ids"]
    total = 0.0
    for start in range(0, len(ids), 15):
        row = torch.tensor([[0, *ids[start : start + 15]]])
        logp = model(row).logits[0, :-1].detach().log_softmax(-1)
        total -= float(logp.gather(1, row[0, 1:, None]).sum())
    loss = evaluate(model, tokenizer, iter([document]), progress=False).total
    assert (loss.n_tokens, loss.n_bytes) == (len(ids), len(document.text.encode()))
    assert loss.nats == pytest.approx(total, rel=1e-5)


def test_the_curve_is_on_disk(run):
    rows = pq.read_table(run / "curve.parquet").to_pylist()
    assert [r["step"] for r in rows] == list(range(2, 41, 2))
    assert rows == read_metrics(run / "metrics.jsonl")
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert all(r["tokens_per_s"] > 0 for r in rows)
    assert json.loads((run / "training.json").read_text())["steps"] == 40


def test_tensorboard_has_the_same_curve_also_after_a_resume(run, corpus, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out = tmp_path / "run"
    shutil.copytree(run, out)
    shutil.rmtree(out / "tensorboard")
    shutil.rmtree(out / "checkpoints/step-000000040")
    train(CONFIG, RECIPE, [corpus], out, progress=False, tensorboard=True)  # from step 36
    for folder, first in [(run, 2), (out, 38)]:
        events = EventAccumulator(str(folder / "tensorboard")).Reload().Scalars("loss")
        curve = {r["step"]: r["loss"] for r in read_metrics(folder / "metrics.jsonl") if r["step"] >= first}
        assert {e.step: e.value for e in events} == pytest.approx(curve)


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
    code = KILLED.format(tests="", config=CONFIG.to_dict(), recipe=asdict(RECIPE), corpus=str(corpus))
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "run")], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 200
    while not list((tmp_path / "run/checkpoints").glob("step-*/state.json")):
        assert time.monotonic() < deadline, "no checkpoint was written"
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    # As if the kill had come while the next checkpoint and metrics row were being written.
    (tmp_path / "run/checkpoints/.step-000000999").mkdir()
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
        TrainingError, match=r"holds another run: recipe.learning_rate is 0.01 in that run and 0.5 in this"
    ):
        train(CONFIG, replace(RECIPE, learning_rate=0.5), [corpus], run, progress=False)


def test_a_folder_in_use_is_refused(run, corpus):
    with open(run / "run.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(TrainingError, match="another process is training in"):
            train(CONFIG, RECIPE, [corpus], run, progress=False)


@pytest.mark.parametrize(
    "contents",
    [
        {"model.safetensors": "weights", "config.json": "{}", "tokenizer.json": "{}", "training.json": "{}"},
        {"notes.txt": "mine"},
        {".git/HEAD": "ref"},
        {"checkpoints/step-000000040/state.json": "{}"},
    ],
)
def test_a_folder_of_something_else_is_refused_and_stays(corpus, tmp_path, contents):
    out = tmp_path / "run"
    for name, text in contents.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(text)
    with pytest.raises(TrainingError, match="exists and holds no training run: it would be replaced"):
        train(CONFIG, RECIPE, [corpus], out, progress=False)
    files = [p for p in out.rglob("*") if p.is_file()]
    assert {str(p.relative_to(out)): p.read_text() for p in files} == contents
    (tmp_path / "file").write_text("mine")
    with pytest.raises(TrainingError, match="file exists and holds no training run"):
        train(CONFIG, RECIPE, [corpus], tmp_path / "file", progress=False)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_prepared_folder_and_one_killed_at_its_beginning_are_used(run, corpus, tmp_path):
    """Tokens and a tokenizer of another run, and what a kill before `run.json` leaves."""
    out, short = tmp_path / "run", replace(RECIPE, n_tokens=128, warmup_steps=0)
    out.mkdir()
    (out / "tokens").symlink_to(run / "tokens")
    for file in run.glob("tokenizer*.json"):
        shutil.copy(file, out)
    (out / "run.lock").touch()
    (out / "run.json.0123456789ab.1.0123456789ab.partial").write_text("{")
    train(CONFIG, short, [corpus], out, progress=False)
    assert json.loads((out / "training.json").read_text())["steps"] == 2


def test_a_finished_run_without_checkpoints_is_not_trained_again(run, corpus, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(run, out)
    shutil.rmtree(out / "checkpoints")
    rows = (out / "metrics.jsonl").read_text()
    with pytest.raises(TrainingError, match="holds the result of this run, but no checkpoint to go on from"):
        train(CONFIG, RECIPE, [corpus], out, progress=False)
    assert (out / "metrics.jsonl").read_text() == rows


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"recipe": 3, "config": {"n_ctx": 16}}', "[" * 100_000]
)
def test_a_damaged_record_of_the_run_is_named(corpus, tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(TrainingError, match=r"run\.json is damaged .*copy it from a backup") as refusal:
        train(CONFIG, RECIPE, [corpus], tmp_path, progress=False)
    assert len(str(refusal.value)) < 1000
    assert (tmp_path / "run.json").read_text() == text


def test_damaged_rows_of_metrics_are_left_out(tmp_path):
    file = tmp_path / "metrics.jsonl"
    rows = [{"step": 1, "loss": 5.0}, {"step": 2, "loss": float("nan")}, {"step": 4, "loss": 3.0}]
    lines = [
        json.dumps(rows[0]),
        json.dumps(rows[1]),
        '{"step": 3, "lo',
        "[1]",
        '{"loss": 1}',
        json.dumps(rows[2]),
    ]
    file.write_bytes("\n".join(lines).encode() + b"\n\xff\xfe")
    assert [row["step"] for row in read_metrics(file)] == [1, 2, 4]


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL])
def test_a_disk_without_locks_is_one_warning(run, corpus, tmp_path, monkeypatch, caplog, number):
    def no_locks(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    short = replace(RECIPE, n_tokens=64, warmup_steps=0)
    train(CONFIG, short, [corpus], tmp_path / "run", progress=False, tokenizer=run, packed=run / "tokens")
    warnings = [
        r.getMessage() for r in caplog.records if r.levelname == "WARNING" and "lock" in r.getMessage()
    ]
    assert len(warnings) == 1
    assert "without file locks" in warnings[0]
    assert (tmp_path / "run/model.safetensors").is_file()


def test_what_comes_after_packing_is_checked_before_it(corpus, tmp_path, monkeypatch):
    def packed(*_: object, **__: object) -> None:
        raise AssertionError("packed before the check")

    monkeypatch.setattr("solu_model.training.run.write_token_file", packed)
    (tmp_path / "empty").mkdir()
    for held_out in ([tmp_path / "empty"], [corpus, tmp_path / "none.txt"]):
        with pytest.raises(ValueError, match=r"holds no text|does not exist|no text"):
            train(CONFIG, RECIPE, [corpus], tmp_path / "run", progress=False, held_out=held_out)
    with pytest.raises(ValueError, match=r"nowhere"):
        train(CONFIG, RECIPE, [corpus], tmp_path / "run", progress=False, init_from=tmp_path / "nowhere")
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(TrainingError, match="TensorBoard is not installed"):
        train(CONFIG, RECIPE, [corpus], tmp_path / "run", progress=False, tensorboard=True)


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ({"n_ctx": 1}, "n_ctx must be at least 2"),
        ({"d_mlp": 2**28}, "parameters takes .* GB to train, but this machine has"),
        ({"n_layers": 2**16, "d_model": 4096}, "parameters takes .* GB to train"),
        ({"d_vocab": 2**31 - 1}, "parameters takes .* GB to train"),
    ],
)
def test_models_that_cannot_be_trained_are_refused_at_once(corpus, tmp_path, sizes, said):
    config = SoluConfig.from_dict(CONFIG.to_dict() | sizes)
    with pytest.raises(TrainingError, match=said):
        train(config, RECIPE, [corpus], tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_too_little_text_is_refused(tmp_path, corpus):
    with pytest.raises(TrainingError, match=r"fills .* rows of 16 tokens, but a step takes 6250"):
        train(
            CONFIG,
            replace(RECIPE, n_tokens=10**6, batch_tokens=100_000),
            [corpus],
            tmp_path / "run",
            progress=False,
        )


def test_a_loss_that_is_no_number_says_where_it_came_from(tmp_path, corpus):
    recipe = replace(RECIPE, learning_rate=1e300, warmup_steps=30, log_every=1, save_every=1)
    with pytest.raises(
        TrainingError, match=r"the loss is nan at step 3: the weights embed.W_E are not finite. Start again"
    ):
        train(CONFIG, recipe, [corpus], tmp_path / "run", progress=False)
    assert last_checkpoint(tmp_path / "run/checkpoints") is not None


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda m: m.blocks[0].mlp.W_in.fill_(torch.nan), r"the weights blocks.0.mlp.W_in are"),
        (lambda m: m.blocks[0].attn.b_V.fill_(3e38), r"the output of blocks.0.attn is"),
        (lambda m: m.ln_final.w.fill_(3e38), r"the output of ln_final|although the activations are"),
    ],
)
def test_trouble_is_found_where_it_begins(spoil, said):
    torch.manual_seed(0)
    model = SoluForCausalLM(CONFIG).train()
    with torch.no_grad():
        spoil(model)
    tokens = torch.arange(32).reshape(2, 16)
    model(input_ids=tokens, labels=tokens).loss.backward()
    assert re.search(said, first_non_finite(model, tokens, bf16=False))


def test_trouble_in_a_gradient_alone_is_named():
    torch.manual_seed(0)
    model = SoluForCausalLM(CONFIG).train()
    tokens = torch.arange(32).reshape(2, 16)
    model(input_ids=tokens, labels=tokens).loss.backward()
    model.unembed.b_U.grad[3] = torch.inf
    assert "the gradient of unembed.b_U is not finite" in first_non_finite(model, tokens, bf16=False)


def test_steps_are_those_of_transformers_trainer(run, tmp_path):
    """Order of the data, initial weights, optimizer, schedule and clipping: to the last bit of the loss."""

    class Rows(torch.utils.data.Dataset):
        tokens = TokenFile(run / "tokens")

        def __len__(self):
            return self.tokens.n_rows(16)

        def __getitem__(self, index):
            row = torch.from_numpy(self.tokens.row(index, 16))
            return {"input_ids": row, "labels": row}

    class Plain(transformers.Trainer):
        def get_decay_parameter_names(self, model):
            return [n for n, _ in model.named_parameters() if n.rpartition(".")[2].startswith("W_")]

    losses = []

    class Losses(transformers.TrainerCallback):
        def on_log(self, args, state, control, logs=None, **kwargs):
            if "loss" in logs:
                losses.append((state.global_step, logs["loss"], float(logs["grad_norm"])))

    transformers.set_seed(0)
    model = SoluForCausalLM(SoluConfig.from_dict(CONFIG.to_dict()))
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path), max_steps=40, per_device_train_batch_size=4, learning_rate=1e-2,
        lr_scheduler_type="linear", warmup_steps=4, weight_decay=0.05, adam_beta2=0.98, max_grad_norm=1.0,
        optim="adamw_torch_fused", use_cpu=True, seed=0, data_seed=0, logging_steps=2, save_strategy="no",
        dataloader_drop_last=True, remove_unused_columns=False, disable_tqdm=True, report_to=[],
    )  # fmt: skip
    Plain(model=model, args=arguments, train_dataset=Rows(), callbacks=[Losses()]).train()
    ours = [(r["step"], r["loss"], r["grad_norm"]) for r in read_metrics(run / "metrics.jsonl")]
    assert ours == losses


LIMITED = (
    """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))  # the next checkpoint is larger
"""
    + KILLED
)


@pytest.mark.parametrize(
    "target", ["curve.parquet", "training.json", "config.json", "model.safetensors", "tokens"]
)
def test_a_full_disk_is_said_wherever_it_happens(run, corpus, tmp_path, monkeypatch, target):
    out = tmp_path / "run"
    shutil.copytree(run, out)
    whole = written_aside.__wrapped__

    @contextmanager
    def full(path: Path) -> Iterator[Path]:
        with contextmanager(whole)(path) as aside:
            yield aside
            if path.name == target:
                no_space()

    if target == "tokens":
        shutil.rmtree(out / "tokens")
    if target == "config.json":  # which transformers writes
        monkeypatch.setattr(SoluConfig, "save_pretrained", no_space)
    for module in ("run", "snapshots"):
        monkeypatch.setattr(f"solu_model.training.{module}.written_aside", full)
    monkeypatch.setattr("solu_model.text.token_file.written_aside", full)
    with pytest.raises(TrainingError, match=r"cannot be written .*No space left.*: it resumes from the last"):
        train(CONFIG, RECIPE, [corpus], out, progress=False)
    monkeypatch.undo()
    assert last_checkpoint(out / "checkpoints").name == "step-000000040"
    assert not list(out.rglob("*.partial"))
    train(CONFIG, RECIPE, [corpus], out, progress=False)
    whole_run, resumed = (load_file(p / "model.safetensors") for p in (run, out))
    assert all(torch.equal(whole_run[name], resumed[name]) for name in whole_run)


def no_space(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_keeps_the_last_checkpoint_and_says_so(run, corpus, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(run, out)
    shutil.rmtree(out / "checkpoints/step-000000040")
    code = LIMITED.format(tests="", config=CONFIG.to_dict(), recipe=asdict(RECIPE), corpus=str(corpus))
    ended = subprocess.run(
        [sys.executable, "-c", code, str(out)], capture_output=True, text=True, check=False
    )
    assert ended.returncode != 0
    assert "the checkpoint of step 40 cannot be written to" in ended.stderr
    assert [p.name for p in (out / "checkpoints").iterdir()] == ["step-000000036"]
    train(CONFIG, RECIPE, [corpus], out, progress=False)
    whole, resumed = (load_file(p / "model.safetensors") for p in (run, out))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


@pytest.mark.parametrize("damage", ["short", "gone", "no state"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_serves(run, corpus, tmp_path, damage):
    out = tmp_path / "run"
    shutil.copytree(run, out)
    last = last_checkpoint(out / "checkpoints")
    (shard,) = last.glob("*.safetensors")
    if damage == "short":
        os.truncate(shard, 1000)
    elif damage == "gone":
        shard.unlink()
    else:
        (last / "state.json").write_text("{")
    with pytest.raises(TrainingError, match=r"step-000000040 is damaged .*: remove that folder"):
        train(CONFIG, RECIPE, [corpus], out, progress=False)
    shutil.rmtree(last)
    train(CONFIG, RECIPE, [corpus], out, progress=False)
    whole, resumed = (load_file(p / "model.safetensors") for p in (run, out))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


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


def test_another_width_brings_its_heads_and_neurons(corpus, tmp_path):
    arguments = ["train", "--preset", "gelu-2l", "--data", str(corpus), "--out", str(tmp_path / "run")]
    sizes = ["--d-vocab", "290", "--d-model", "64", "--n-layers", "1"]
    done = CliRunner().invoke(app, [*arguments, *sizes])
    assert "give more text" in str(done.exception)  # too few rows for a step
    said = json.loads((tmp_path / "run/run.json").read_text())["config"]
    wanted = {"d_model": 64, "n_heads": 1, "d_head": 64, "d_mlp": 256, "n_layers": 1, "act_fn": "gelu"}
    assert {name: said[name] for name in wanted} == wanted
    done = CliRunner().invoke(app, [*arguments, "--d-model", "100"])
    assert done.exit_code == 2
    assert "expected a multiple of d_head = 64, got 100" in " ".join(
        re.sub(r"[│\n]", " ", done.output).split()
    )


@pytest.mark.parametrize("machine_can", [True, False])
def test_bf16_is_for_machines_that_multiply_it(machine_can, corpus, tmp_path, monkeypatch):
    recipes = []
    monkeypatch.setattr("solu_model.training.multiplies_bf16", lambda: machine_can)
    monkeypatch.setattr("solu_model.training.train", lambda *given, **_: recipes.append(given[1]))
    for said in ([], ["--bf16"], ["--float32"]):
        done = CliRunner().invoke(app, ["train", "--data", str(corpus), "--out", str(tmp_path), *said])
        assert done.exit_code == 0, done.output
    assert [recipe.bf16 for recipe in recipes] == [machine_can, True, False]
