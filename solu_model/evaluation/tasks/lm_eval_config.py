"""Describe a task to lm-eval: its items as a JSON-lines file, and its configuration.

Prompts and metrics are those of lm-eval's own tasks of the same names, as far as the files allow.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from solu_model.evaluation.tasks.task_files import (
    Cloze,
    Item,
    MultipleChoice,
    OpenQuestion,
    Task,
    TaskError,
)

_MEAN = {"aggregation": "mean", "higher_is_better": True}


def write_task(task: Task, folder: Path, limit: int | None = None) -> tuple[dict[str, Any], float]:
    """Write a task's items to a JSON-lines file and return lm-eval's configuration of the task.

    Args:
        task: the task.
        folder: the folder of the JSON-lines file.
        limit: number of items to take, spread evenly over the set; None: all.

    Returns:
        lm-eval's configuration, and the accuracy of guessing.

    Raises:
        TaskError: an item is damaged, or there are no items.
    """
    items = list(task.read())
    if limit is not None and limit < len(items):
        items = [items[k * len(items) // limit] for k in range(limit)]
    if not items:
        raise TaskError(f"{task.path}: the set {task.name} is empty: download it again")
    file = folder / f"{lm_eval_name(task.name)}.jsonl"
    with open(file, "w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(asdict(item)) + "\n" for item in items)
    config = {
        "task": lm_eval_name(task.name),
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(file)}},
        "test_split": "test",
        "num_fewshot": 0,
    }
    return config | _CONFIG_OF_KIND[type(items[0])], _chance(items)


def lm_eval_name(name: str) -> str:
    """Return the name under which lm-eval knows a task; the prefix keeps it apart from lm-eval's own."""
    return "solu_" + name.replace("/", "_")


def _chance(items: list[Item]) -> float:
    """Return the accuracy of guessing; 0 where there are no choices."""
    choices = [1 / len(item.choices) for item in items if isinstance(item, MultipleChoice)]
    return sum(choices) / len(items)


_CONFIG_OF_KIND: dict[type, dict[str, Any]] = {
    Cloze: {
        "output_type": "loglikelihood",
        "doc_to_text": "{{context}}",
        "doc_to_target": "{{target}}",
        "target_delimiter": "",
        "metric_list": [
            {"metric": "acc", **_MEAN},
            {"metric": "perplexity", "aggregation": "perplexity", "higher_is_better": False},
        ],
    },
    MultipleChoice: {
        "output_type": "multiple_choice",
        "doc_to_text": "{{query}}",
        "doc_to_target": "gold",
        "doc_to_choice": "choices",
        "metric_list": [{"metric": "acc", **_MEAN}, {"metric": "acc_norm", **_MEAN}],
    },
    OpenQuestion: {
        "output_type": "generate_until",
        "doc_to_text": "{{query}}",
        "doc_to_target": "{{answers}}",
        "generation_kwargs": {"until": ["\n", ".", ","], "do_sample": False, "max_gen_toks": 24},
        "filter_list": [
            {"name": "none", "filter": [{"function": "remove_whitespace"}, {"function": "take_first"}]}
        ],
        "metric_list": [{"metric": "exact_match", "ignore_case": True, "ignore_punctuation": True, **_MEAN}],
    },
}
