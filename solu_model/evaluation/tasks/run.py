"""Run tasks on a model: start lm-eval in a process of its own and collect its results."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from hashlib import file_digest
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from solu_model.evaluation.tasks.lm_eval_config import lm_eval_name, write_task
from solu_model.evaluation.tasks.results import TaskResult, TaskResults
from solu_model.evaluation.tasks.task_files import Task, TaskError
from solu_model.files import weights_hash

_METRICS = ("acc_norm", "acc", "exact_match")
"""Metrics in order of preference: a task's score is the first one that lm-eval reports for it."""


def run_tasks(
    model: Path,
    tasks: Sequence[Task],
    *,
    tokenizer: str | Path | None = None,
    bos: str | None = None,
    n_ctx: int | None = None,
    limit: int | None = None,
    batch_size: int = 16,
) -> TaskResults:
    """Run tasks on a model, zero-shot.

    Args:
        model: a checkpoint folder.
        tasks: tasks, see `find_tasks`.
        tokenizer: a tokenizer in place of the checkpoint's own.
        bos, n_ctx: see `Tokenization.of`.
        limit: number of items of each task, spread evenly over it; None: all.
        batch_size: requests that lm-eval sends to the model at a time.

    Raises:
        TaskError: lm-eval is not installed, a file of items is damaged, or the process failed.
    """
    try:
        lm_eval = version("lm-eval")
    except PackageNotFoundError as error:
        raise TaskError(
            "tasks are run by lm-eval, which is not installed: pip install 'solu-explorer[tasks]'"
        ) from error
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        written = {task.name: write_task(task, folder, limit) for task in tasks}
        request = {
            "model": str(model),
            "tokenizer": None if tokenizer is None else str(tokenizer),
            "bos": bos,
            "n_ctx": n_ctx,
            "tasks": [config for config, _ in written.values()],
            "batch_size": batch_size,
        }
        answers = _run_process(request, folder)
        results = [
            _result(task, answers[lm_eval_name(task.name)], written[task.name][1], _n_items(folder, task))
            for task in tasks
        ]
    return TaskResults(weights_hash(model), lm_eval, version("torch"), results)


def _run_process(request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Run the process and return lm-eval's results by task. Its progress goes to our standard error."""
    request_file, answer_file = folder / "request.json", folder / "answer.json"
    request_file.write_text(json.dumps(request), encoding="utf-8")
    # All its inputs are local files: it needs no network, and its caches are removed with the folder.
    environment = os.environ | {
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
    completed = subprocess.run(command, env=environment, check=False)  # noqa: S603
    if completed.returncode or not answer_file.is_file():
        raise TaskError(
            f"lm-eval ended with exit status {completed.returncode} and no results; see its messages above. "
            "If it was killed, memory probably ran out: free some and run it again"
        )
    answers: dict[str, Any] = json.loads(answer_file.read_text(encoding="utf-8"))
    return answers


def _result(task: Task, answer: dict[str, Any], chance: float, n_items: int) -> TaskResult:
    values = {key.partition(",")[0]: value for key, value in answer.items()}
    metric = next(name for name in _METRICS if name in values)
    with open(task.path, "rb") as stream:
        digest = file_digest(stream, "sha256").hexdigest()
    return TaskResult(
        task=task.name, metric=metric, value=float(values[metric]),
        stderr=float(values[f"{metric}_stderr"]) if n_items > 1 else 0.0,
        n_items=n_items, chance=chance, sha256=digest, perplexity=values.get("perplexity"),
    )  # fmt: skip


def _n_items(folder: Path, task: Task) -> int:
    with open(folder / f"{lm_eval_name(task.name)}.jsonl", "rb") as stream:
        return sum(1 for _ in stream)
