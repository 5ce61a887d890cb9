"""`run.json`: the identity of the run in a folder, and its length.

A run with another model, recipe, data or initial weights is refused. Settings that change only the speed or
the files written during training may differ. The precision of matrix products may differ too, so that a run
can move to a machine without bf16; its weights are then no longer the same bit for bit.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

from solu_model.config import SoluConfig
from solu_model.files import written_aside
from solu_model.loading.checkpoint_files import weights_hash
from solu_model.training.checkpoints import all_checkpoints
from solu_model.training.recipe import Recipe, TrainingError

LengthChange = Literal["extend", "decay-now"]
"""`extend`: continue to the recipe's `n_tokens` from before the decay. `decay-now`: begin the decay at the
last checkpoint; the run ends with the decay."""

_FREE = {
    "compile",
    "log_every",
    "save_every",
    "save_minutes",
    "held_out_every",
    "snapshots",
    "accumulate",
    "bf16",
}
"""Fields of the recipe that may change when a run resumes."""


def claim(
    out: Path,
    config: SoluConfig,
    recipe: Recipe,
    data: Sequence[str | Path],
    init_from: Path | None = None,
    change: LengthChange | None = None,
) -> None:
    """Record the run and its length in `run.json`; refuse a folder that holds another run.

    Raises:
        TrainingError: the folder holds another run, or the run's length cannot be changed in this way.
    """
    file = out / "run.json"
    identity = _identity(config, recipe, data, init_from)
    if not file.is_file():
        if change is not None:
            raise TrainingError(
                f"{out} holds no run whose length could be changed: start one first, without --{change}"
            )
        _write(file, identity)
        return
    recorded = json.loads(file.read_text(encoding="utf-8"))
    then = replace(recipe, n_tokens=recorded["recipe"]["n_tokens"])
    expected = identity if change is None else _identity(config, then, data, init_from)
    older = {"recipe": asdict(Recipe(n_tokens=1))}  # defaults of fields that older versions did not write
    differing = [
        f"{part}.{key} is {earlier!r} in that run and {value!r} in this command"
        for part, fields in expected.items()
        for key, value in fields.items()
        if (earlier := recorded.get(part, {}).get(key, older.get(part, {}).get(key))) != value
    ]
    if differing:
        advice = "Give the same settings, or another --out"
        if recipe.schedule == "wsd" and [d.split()[0] for d in differing] == ["recipe.n_tokens"]:
            advice += f", or --extend {recipe.n_tokens} to lengthen this run, or --decay-now to end it early"
        raise TrainingError(f"{out} holds another run: {'; '.join(differing)}. {advice}")
    if change is not None:
        n_tokens = _extended(out, then, recipe.n_tokens) if change == "extend" else _shortened(out, then)
        _write(file, _identity(config, replace(recipe, n_tokens=n_tokens), data, init_from))


def recorded_tokens(out: Path) -> int:
    """Read the length of the run in a folder, in tokens."""
    return int(json.loads((out / "run.json").read_text(encoding="utf-8"))["recipe"]["n_tokens"])


def corpus_names(data: Sequence[str | Path]) -> list[str]:
    """Return the last two parts of each corpus path: without the folders of one machine."""
    return ["/".join(Path(p).parts[-2:]) for p in data]


def _identity(
    config: SoluConfig, recipe: Recipe, data: Sequence[str | Path], init_from: Path | None
) -> dict[str, Any]:
    shape = {name: getattr(config, name) for name in SoluConfig.__annotations__ if name != "attribute_map"}
    fixed = {name: value for name, value in asdict(recipe).items() if name not in _FREE}
    identity = {"config": shape, "recipe": fixed, "data": {"paths": corpus_names(data)}}
    identity["init"] = {"weights": None if init_from is None else weights_hash(init_from)}
    return dict(json.loads(json.dumps(identity)))


def _write(file: Path, identity: dict[str, Any]) -> None:
    with written_aside(file) as aside:
        aside.write_text(json.dumps(identity, indent=1) + "\n", encoding="utf-8")


def _extended(out: Path, recipe: Recipe, n_tokens: int) -> int:
    """Remove the checkpoints of the decay, so that the run continues from before it; return `n_tokens`."""
    if recipe.schedule != "wsd":
        raise TrainingError(
            f"only a run with the schedule wsd can be extended, but the run in {out} has {recipe.schedule}: "
            f"train {n_tokens} tokens in another --out"
        )
    if n_tokens < recipe.n_tokens:
        raise TrainingError(
            f"--extend takes the tokens of the whole run: expected more than {recipe.n_tokens}, got "
            f"{n_tokens}. To end the run early, use --decay-now"
        )
    if n_tokens == recipe.n_tokens:  # the same command again, to resume
        return n_tokens
    checkpoints = all_checkpoints(out / "checkpoints")
    decayed = [path for step, path in checkpoints.items() if step > recipe.decay_from()]
    if decayed and len(decayed) == len(checkpoints):
        raise TrainingError(
            f"{out}/checkpoints holds no checkpoint from before the decay, which began after step "
            f"{recipe.decay_from()}: train {n_tokens} tokens in another --out"
        )
    for path in decayed:
        shutil.rmtree(path)
    return n_tokens


def _shortened(out: Path, recipe: Recipe) -> int:
    """Return the length whose decay begins at the last checkpoint; the present one if the decay has begun."""
    if recipe.schedule != "wsd":
        raise TrainingError(
            f"only a run with the schedule wsd can be decayed at any time, but the run in {out} has "
            f"{recipe.schedule}: leave out --decay-now"
        )
    checkpoints = all_checkpoints(out / "checkpoints")
    if not checkpoints:
        raise TrainingError(f"{out} has no checkpoint to decay from yet: train without --decay-now first")
    done = max(checkpoints)
    if done > recipe.decay_from():
        return recipe.n_tokens
    n_steps = done
    while replace(recipe, n_tokens=n_steps * recipe.batch_tokens).decay_from() < done:
        n_steps += 1
    return min(recipe.n_tokens, n_steps * recipe.batch_tokens)
