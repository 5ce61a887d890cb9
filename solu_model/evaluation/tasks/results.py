"""Results of tasks, as a file `tasks.json` beside the model, which the dashboard draws."""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from solu_model.files import written_aside

TASKS_FILE = "tasks.json"
"""Name of the file in a model's folder."""

_Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True)
class TaskResult:
    """The score of a model on one task, zero-shot."""

    task: str
    """Name of the task, e.g. `lambada` or `arithmetic/two_digit_addition`."""
    metric: str
    """`acc` (the correct answer is the likeliest), `acc_norm` (likelihood per byte) or `exact_match`."""
    value: _Share
    """Share of items answered correctly."""
    stderr: _Share
    """Standard error of the share."""
    n_items: Annotated[int, Field(ge=1)]
    chance: _Share
    """Expected share of correct answers when guessing."""
    sha256: str
    """SHA-256 of the file that the items come from."""
    perplexity: float | None = None
    """Perplexity of the target, for tasks that continue a text."""


@dataclass(frozen=True)
class TaskResults:
    """The scores of a model on all tasks, with the weights and the versions they were measured with."""

    model_sha256: str
    """Hash of the weights, see `weights_hash`."""
    lm_eval: str
    """Version of lm-eval."""
    torch: str
    """Version of torch."""
    results: list[TaskResult]

    def save(self, file: Path) -> None:
        """Write the results as JSON, atomically."""
        with written_aside(file) as aside:
            aside.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    def by_group(self) -> list[TaskResult]:
        """Return one result per group: tasks whose names share the part before "/" are combined by items."""
        groups: dict[str, list[TaskResult]] = {}
        for result in self.results:
            groups.setdefault(result.task.partition("/")[0], []).append(result)
        return [_combined(name, parts) for name, parts in groups.items()]

    @classmethod
    def load(cls, file: Path) -> "TaskResults":
        """Read results.

        Raises:
            ValueError: the file does not hold results of tasks.
        """
        try:
            return TypeAdapter(cls).validate_json(file.read_bytes())
        except ValidationError as error:
            raise ValueError(f"{file} does not hold results of tasks: measure them again") from error


def holds_results(file: Path) -> bool:
    """Return True if a file holds results of tasks, which may be replaced by new ones."""
    try:
        TaskResults.load(file)
    except (OSError, ValueError):
        return False
    return True


def _combined(name: str, parts: list[TaskResult]) -> TaskResult:
    """Return the mean of results, weighted by items. Their errors are taken as independent."""
    if len(parts) == 1:
        return parts[0]
    n_items = sum(part.n_items for part in parts)
    weights = [part.n_items / n_items for part in parts]
    return TaskResult(
        task=name,
        metric=parts[0].metric,
        value=sum(w * part.value for w, part in zip(weights, parts, strict=True)),
        stderr=math.hypot(*(w * part.stderr for w, part in zip(weights, parts, strict=True))),
        n_items=n_items,
        chance=sum(w * part.chance for w, part in zip(weights, parts, strict=True)),
        sha256=parts[0].sha256,
    )
