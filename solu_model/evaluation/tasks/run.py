"""Have lm-eval put tasks to a model, in a process of its own."""

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

from solu_model.evaluation.tasks.definitions import definition, lm_eval_name
from solu_model.evaluation.tasks.results import TaskResult, TaskResults
from solu_model.evaluation.tasks.sets import TaskError, TaskSet
from solu_model.files import weights_hash

_METRICS = ("acc_norm", "acc", "exact_match")
"""What a task is judged by: the first of these that it has."""


def run_tasks(
    model: Path,
    tasks: Sequence[TaskSet],
    *,
    tokenizer: str | Path | None = None,
    limit: int | None = None,
    batch_size: int = 16,
) -> TaskResults:
    """A model's answers, zero-shot.

    Args:
        model: a checkpoint folder.
        tasks: see `find_sets`.
        tokenizer: in place of the checkpoint's own.
        limit: items of each set, spread evenly over it; all where None.

    Raises:
        TaskError: lm-eval is not installed, a set is damaged, or the process failed.
    """
    try:
        lm_eval = version("lm-eval")
    except PackageNotFoundError as error:
        raise TaskError(
            "tasks are run by lm-eval, which is not installed: pip install 'solu-explorer[tasks]'"
        ) from error
    with TemporaryDirectory() as folder:
        here = Path(folder)
        defined = {task.name: definition(task, here, limit) for task in tasks}
        request = {
            "model": str(model),
            "tokenizer": None if tokenizer is None else str(tokenizer),
            "tasks": [config for config, _ in defined.values()],
            "batch_size": batch_size,
        }
        answers = _ask(request, here)
        results = [
            _result(task, answers[lm_eval_name(task.name)], chance, _n_items(here, task))
            for task in tasks
            for _, chance in [defined[task.name]]
        ]
    return TaskResults(weights_hash(model), lm_eval, version("torch"), results)


def _ask(request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What the process says; its progress goes to this one's standard error."""
    asked, said = folder / "request.json", folder / "answer.json"
    asked.write_text(json.dumps(request), encoding="utf-8")
    # Everything it reads is here: it is to ask no network, and to leave nothing behind.
    environment = os.environ | {
        "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_DATASETS_CACHE": str(folder / "datasets"),
        "TOKENIZERS_PARALLELISM": "false",
    }  # fmt: skip
    command = [sys.executable, "-m", "solu_model.evaluation.tasks.process", str(asked), str(said)]
    ended = subprocess.run(command, env=environment, check=False)  # noqa: S603
    if ended.returncode or not said.is_file():
        raise TaskError(
            f"lm-eval ended with {ended.returncode} and no results: what it said stands above. "
            "Where it was killed, memory ran out: try a smaller --batch-size"
        )
    found: dict[str, Any] = json.loads(said.read_text(encoding="utf-8"))
    return found


def _result(task: TaskSet, said: dict[str, Any], chance: float, n_items: int) -> TaskResult:
    values = {key.partition(",")[0]: value for key, value in said.items()}
    metric = next(name for name in _METRICS if name in values)
    with open(task.path, "rb") as stream:
        digest = file_digest(stream, "sha256").hexdigest()
    return TaskResult(
        task=task.name, metric=metric, value=float(values[metric]),
        stderr=float(values[f"{metric}_stderr"]) if n_items > 1 else 0.0,
        n_items=n_items, chance=chance, sha256=digest, perplexity=values.get("perplexity"),
    )  # fmt: skip


def _n_items(folder: Path, task: TaskSet) -> int:
    with open(folder / f"{lm_eval_name(task.name)}.jsonl", "rb") as stream:
        return sum(1 for _ in stream)
