"""Models in the model folders: names, files, and what is missing or damaged. Loads no weights."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from cache.format.schema import MANIFEST
from solu_model.loading.checkpoint_files import (
    CONFIG,
    CheckpointError,
    damage_of,
    read_object,
    weight_files_of,
)

WEIGHTS = "model.safetensors"
"""The usual name of a checkpoint's weights."""
NEURONS = "neurons"
"""A model's cache is the folder of this name inside it."""


class ModelError(ValueError):
    """A model that cannot be shown. The message says what was expected, what was found and what to do."""


@dataclass(frozen=True)
class Problem:
    """A missing or damaged file, and the command that repairs it."""

    text: str
    command: str = ""


@dataclass(frozen=True)
class ModelFolder:
    """A folder with a checkpoint, a cache, or part of one."""

    name: str
    """Unique among the models; the name in addresses."""
    path: Path
    config: dict[str, Any]
    """Content of `config.json`; empty if it is missing or damaged."""
    training: dict[str, Any] = field(default_factory=dict)
    """Content of `training.json`, the training recipe; empty if there is none."""
    evaluation: dict[str, Any] = field(default_factory=dict)
    """Content of `evaluation.json`, the held-out loss by source; empty if it was not measured."""

    @cached_property
    def weights(self) -> Sequence[Path]:
        """The files that hold its weights; empty if there are none, or if it is not clear which."""
        return self._weights[0]

    @cached_property
    def weights_problem(self) -> str:
        """Reason why there are no weights, as a sentence with what to do; empty if there are."""
        return self._weights[1]

    @cached_property
    def _weights(self) -> tuple[Sequence[Path], str]:
        try:
            return weight_files_of(self.path, fields=self.config), ""
        except CheckpointError as error:
            return (), str(error)

    @property
    def cache(self) -> Path:
        """Path of its cache, which may be missing."""
        return self.path / NEURONS

    @property
    def curve(self) -> Path:
        """Path of its loss curve, which may be missing."""
        return self.path / "curve.parquet"

    @property
    def bits_per_byte(self) -> float | None:
        """Held-out loss in bits per byte; None if it was not measured."""
        return bits_per_byte(self.evaluation.get("all"))

    @property
    def has_cache(self) -> bool:
        """True if the folder holds a cache's manifest; the cache may still be damaged."""
        return (self.cache / MANIFEST).is_file()

    @property
    def build_command(self) -> str:
        """Command that builds its cache."""
        return f"solu cache build --model {self.path} --data PATH --out {self.cache}"

    @cached_property
    def problems(self) -> list[Problem]:
        """Missing and damaged files, the most basic first."""
        problems = []
        if not self.config:
            problems.append(
                Problem("config.json is missing or no JSON object: copy the whole checkpoint folder again")
            )
        damages = [self.weights_problem, *map(damage_of, self.weights)]
        problems += [Problem(damage) for damage in damages if damage][:1]
        if not (self.path / "tokenizer.json").is_file():
            problems.append(Problem("tokenizer.json is missing: copy the whole checkpoint folder again"))
        if not self.has_cache:
            problems.append(Problem("No neuron cache yet. Build one from any text:", self.build_command))
        return problems


def bits_per_byte(loss: object) -> float | None:
    """Return the bits per byte of one source in `evaluation.json`; None if that is not a finite number."""
    value = loss.get("bits_per_byte") if isinstance(loss, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def find_models(roots: Sequence[Path]) -> list[ModelFolder]:
    """Return every model in the folders, in name order: a root that is a model, or its direct subfolders."""
    folders: list[Path] = []
    for root in roots:
        if not root.is_dir():
            continue
        inside = [root] if _is_model(root) else sorted(p for p in root.iterdir() if _is_model(p))
        folders += [p for p in inside if p.resolve() not in {f.resolve() for f in folders}]
    models: list[ModelFolder] = []
    for folder in folders:
        name, taken = folder.name, {m.name for m in models}
        if name in taken:
            name = f"{folder.parent.name}/{folder.name}"
        number = 2
        while name in taken:
            name, number = f"{folder.name} ({number})", number + 1
        models.append(
            ModelFolder(
                name,
                folder,
                _json(folder / CONFIG),
                _json(folder / "training.json"),
                _json(folder / "evaluation.json"),
            )
        )
    return models


def _is_model(folder: Path) -> bool:
    names = (CONFIG, WEIGHTS, f"{NEURONS}/{MANIFEST}")
    return folder.is_dir() and any((folder / name).is_file() for name in names)


def _json(file: Path) -> dict[str, Any]:
    """Return the object of a JSON file that came with a checkpoint; empty if it cannot be read."""
    try:
        status = file.stat()
    except OSError:
        return {}
    return _parsed_json(file, (status.st_mtime_ns, status.st_size))


@lru_cache(256)
def _parsed_json(file: Path, stamp: tuple[int, int]) -> dict[str, Any]:  # noqa: ARG001 part of the key
    """Return a JSON object, parsed once for each stamp of the file, since every rerun lists the models."""
    try:
        return read_object(file)
    except CheckpointError:
        return {}
