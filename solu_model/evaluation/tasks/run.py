"""Run tasks on a model: start lm-eval in a process of its own and collect its results."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from math import isfinite
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from solu_model.evaluation.tasks.lm_eval_config import lm_eval_name, write_task
from solu_model.evaluation.tasks.results import TaskResult, TaskResults
from solu_model.evaluation.tasks.task_files import Task, TaskError
from solu_model.files import sha256_of
from solu_model.loading.checkpoint_files import weights_hash

_METRICS = ("acc_norm", "acc", "exact_match")
"""Metrics in order of preference: a task's score is the first one that lm-eval reports for it."""


def run_tasks(
    model: str | Path,
    tasks: Sequence[Task],
    *,
    tokenizer: str | Path | None = None,
    bos: str | None = None,
    n_ctx: int | None = None,
    limit: int | None = None,
    batch_size: int = 16,
    state: Path | None = None,
) -> TaskResults:
    """Run tasks on a model, zero-shot, one after the other.

    Args:
        model: a checkpoint, see `load_checkpoint`.
        tasks: tasks, see `find_tasks`.
        tokenizer: a tokenizer in place of the checkpoint's own.
        bos, n_ctx: see `Tokenization.of`.
        limit: number of items of each task, spread evenly over it; None: all.
        batch_size: requests that lm-eval sends to the model at a time.
        state: a file that keeps what is done. After an interruption, the same call goes on from it; the
            caller removes it when the results are saved. None: an interruption loses everything.

    Raises:
        CheckpointError: the model cannot be loaded.
        TaskError: lm-eval is not installed, a file of items is damaged, `state` is of another evaluation, or
            the process failed.
    """
    try:
        lm_eval = version("lm-eval")
    except PackageNotFoundError as error:
        raise TaskError(
            "tasks are run by lm-eval, which is not installed: pip install 'solu-explorer[tasks]'"
        ) from error
    # Here, since the dashboard reads results without torch.
    from solu_model.loading import hub
    from solu_model.loading.checkpoints import load_with_tokenizer
    from solu_model.text.tokenizer import tokenizer_hash

    # First, since a model that cannot be loaded or named would be noticed after hours otherwise.
    loaded = load_with_tokenizer(model, tokenizer=tokenizer)[1]
    local = Path(model) if Path(model).exists() else hub.fetch_checkpoint(str(model))
    identity = {
        "model_sha256": weights_hash(local), "tokenizer": tokenizer_hash(loaded), "lm_eval": lm_eval,
        "torch": version("torch"),
    }  # fmt: skip
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        answer_file = state or folder / "answers.jsonl"
        earlier = _begin(answer_file, identity)
        written = {task.name: write_task(task, folder, limit) for task in tasks}
        items = {task.name: {"sha256": sha256_of(task.path), "n": _n_items(folder, task)} for task in tasks}
        request = {
            "model": str(model),
            "tokenizer": None if tokenizer is None else str(tokenizer),
            "bos": bos,
            "n_ctx": n_ctx,
            "tasks": [
                {"config": written[task.name][0], "items": items[task.name]}
                for task in tasks
                if earlier.get(lm_eval_name(task.name), {}).get("items") != items[task.name]
            ],
            "batch_size": batch_size,
        }
        status = 0
        if request["tasks"]:
            status = _run_process(request, folder, answer_file)
        answers = _read_answers(answer_file)[1]
        done = [
            task
            for task in tasks
            if answers.get(lm_eval_name(task.name), {}).get("items") == items[task.name]
        ]
        if len(done) < len(tasks):
            kept = f"{len(done)} of {len(tasks)} tasks are done"
            kept += f" and kept in {state}, from which the same command goes on" if state and done else ""
            raise TaskError(
                f"lm-eval ended with exit status {status} before its end; see its messages above. {kept}. "
                "If it was killed, memory probably ran out: free some and run it again"
            )
        results = [
            _result(task, answers[lm_eval_name(task.name)]["answer"], written[task.name][1], items[task.name])
            for task in tasks
        ]
    return TaskResults(identity["model_sha256"], lm_eval, identity["torch"], results)


def _begin(file: Path, identity: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Return the answers of an interrupted evaluation, by lm-eval's name of the task; else begin a file.

    Raises:
        TaskError: the file is of another evaluation, or cannot be written.
    """
    try:
        if file.exists() and file.stat().st_size:
            recorded, answers = _read_answers(file)
            if recorded != identity:
                raise TaskError(
                    f"{file} is no interrupted evaluation, or one of another model, tokenizer or "
                    "version: finish that one, or remove the file"
                )
            return answers
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(identity) + "\n", encoding="utf-8")
    except OSError as error:
        raise TaskError(f"{file} cannot be written ({error}): give another --out") from error
    return {}


def _read_answers(file: Path) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Read the identity of an evaluation, and its answers; lines cut short by a kill are left out."""
    rows = []
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict):
            rows.append(row)
    answers = {row["task"]: row for row in rows[1:] if {"task", "items", "answer"} <= row.keys()}
    return rows[0] if rows else {}, answers


def _run_process(request: dict[str, Any], folder: Path, answer_file: Path) -> int:
    """Run the process, which adds answers to a file; return its exit status. Its progress is shown."""
    from solu_model.training.processes import LAUNCHER_VARIABLES

    request_file = folder / "request.json"
    request_file.write_text(json.dumps(request), encoding="utf-8")
    # All its inputs are local files: it needs no network, and its caches are removed with the folder.
    environment = {name: value for name, value in os.environ.items() if name not in LAUNCHER_VARIABLES}
    environment |= {
        "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_DATASETS_CACHE": str(folder / "datasets"),
        "TOKENIZERS_PARALLELISM": "false",
    }  # fmt: skip
    command = [
        sys.executable,
        "-m",
        "solu_model.evaluation.tasks.lm_eval_process",
        str(request_file),
        str(answer_file),
    ]
    return subprocess.run(command, env=environment, check=False).returncode  # noqa: S603


def _result(task: Task, answer: dict[str, Any], chance: float, items: dict[str, Any]) -> TaskResult:
    values = {key.partition(",")[0]: value for key, value in answer.items()}
    metric = next(name for name in _METRICS if name in values)
    perplexity = values.get("perplexity")
    return TaskResult(
        task=task.name, metric=metric, value=float(values[metric]),
        stderr=float(values[f"{metric}_stderr"]) if items["n"] > 1 else 0.0,
        n_items=items["n"], chance=chance, sha256=items["sha256"],
        perplexity=perplexity if isinstance(perplexity, float) and isfinite(perplexity) else None,
    )  # fmt: skip


def _n_items(folder: Path, task: Task) -> int:
    with open(folder / f"{lm_eval_name(task.name)}.jsonl", "rb") as stream:
        return sum(1 for _ in stream)
