"""What came of the tasks, as a file beside the model: `tasks.json`, which the dashboard draws."""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from solu_model.files import written_aside

TASKS_FILE = "tasks.json"
"""Its name in a model's folder."""

_Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True)
class TaskResult:
    """A model's answers to one set, zero-shot."""

    task: str
    """As `lambada` or `arithmetic/two_digit_addition`."""
    metric: str
    """`acc` (the right answer is the likeliest), `acc_norm` (the same by byte of answer), `exact_match`."""
    value: _Share
    """The share answered rightly."""
    stderr: _Share
    n_items: Annotated[int, Field(ge=1)]
    chance: _Share
    """The share that guessing gets right."""
    sha256: str
    """Of the file the set came from."""
    perplexity: float | None = None
    """Of what comes next, where the task is to go on."""


@dataclass(frozen=True)
class TaskResults:
    """All of a model's, and what they were measured of and with."""

    model_sha256: str
    lm_eval: str
    """Version."""
    torch: str
    results: list[TaskResult]

    def save(self, file: Path) -> None:
        """Write them aside, then rename."""
        with written_aside(file) as aside:
            aside.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    def by_group(self) -> list[TaskResult]:
        """One result a group: sets with a common first name count as one, as the arithmetic ones do."""
        groups: dict[str, list[TaskResult]] = {}
        for result in self.results:
            groups.setdefault(result.task.partition("/")[0], []).append(result)
        return [_together(name, parts) for name, parts in groups.items()]

    @classmethod
    def load(cls, file: Path) -> "TaskResults":
        """Read them.

        Raises:
            ValueError: the file is not such a file.
        """
        try:
            return TypeAdapter(cls).validate_json(file.read_bytes())
        except ValidationError as error:
            raise ValueError(f"{file} holds no results of tasks: measure them again") from error


def _together(name: str, parts: list[TaskResult]) -> TaskResult:
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
