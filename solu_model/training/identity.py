"""`run.json`: the identity of the run in a folder, and its length.

Another run is refused: one with another model, recipe, data or initial weights. Settings of speed and of what
is written along the way may differ, and so may the precision of matrix products, so that a run can move to a
machine without bf16 (and then no longer ends bit for bit where it would have).
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

from solu_model.config import SoluConfig
from solu_model.files import weights_hash, written_aside
from solu_model.training.checkpoints import all_checkpoints
from solu_model.training.recipe import Recipe, TrainingError

LengthChange = Literal["extend", "decay-now"]
"""`extend`: go on to the recipe's `n_tokens`, from before the decay. `decay-now`: begin the decay at the last
checkpoint; the run ends when it is done."""

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
"""Fields of a recipe in which a run may differ from itself."""


def claim(
    out: Path,
    config: SoluConfig,
    recipe: Recipe,
    data: Sequence[str | Path],
    init_from: Path | None = None,
    change: LengthChange | None = None,
) -> None:
    """Refuse a folder that holds another run; otherwise write down which run it is, and its new length.

    Raises:
        TrainingError: another run is there, or its length cannot be changed so.
    """
    file = out / "run.json"
    identity = _identity(config, recipe, data, init_from)
    if not file.is_file():
        if change is not None:
            raise TrainingError(
                f"{out} holds no run whose length could change: train there first, without --{change}"
            )
        _write(file, identity)
        return
    found = json.loads(file.read_text(encoding="utf-8"))
    then = replace(recipe, n_tokens=found["recipe"]["n_tokens"])
    expected = identity if change is None else _identity(config, then, data, init_from)
    older = {"recipe": asdict(Recipe(n_tokens=1))}  # for folders from before a field was there
    differing = [
        f"{part}.{key} is {there!r} there and {value!r} here"
        for part, fields in expected.items()
        for key, value in fields.items()
        if (there := found.get(part, {}).get(key, older.get(part, {}).get(key))) != value
    ]
    if differing:
        advice = "Give another --out"
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
    """Return corpus paths without the parts that only one machine has."""
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
    """Make a run go on from before its decay, to `n_tokens` in all."""
    if recipe.schedule != "wsd":
        raise TrainingError(
            f"only a run with the schedule wsd can be extended, the one in {out} has {recipe.schedule}: "
            f"train {n_tokens} tokens in another --out"
        )
    if n_tokens < recipe.n_tokens:
        raise TrainingError(
            f"--extend takes the tokens of the whole run: expected more than {recipe.n_tokens}, got "
            f"{n_tokens}. To end the run early: --decay-now"
        )
    if n_tokens == recipe.n_tokens:  # the same command again, to go on
        return n_tokens
    there = all_checkpoints(out / "checkpoints")
    decayed = [path for step, path in there.items() if step > recipe.decay_from()]
    if decayed and len(decayed) == len(there):
        raise TrainingError(
            f"{out}/checkpoints has none from before the decay, which began after step "
            f"{recipe.decay_from()}: train {n_tokens} tokens in another --out"
        )
    for path in decayed:
        shutil.rmtree(path)
    return n_tokens


def _shortened(out: Path, recipe: Recipe) -> int:
    """Find the length whose decay begins at the last checkpoint; the present one where it decays already."""
    if recipe.schedule != "wsd":
        raise TrainingError(
            f"only a run with the schedule wsd can be decayed at any time, the one in {out} has "
            f"{recipe.schedule}: go on without --decay-now"
        )
    there = all_checkpoints(out / "checkpoints")
    if not there:
        raise TrainingError(f"{out} has no checkpoint to decay from yet: go on without --decay-now first")
    done = max(there)
    if done > recipe.decay_from():
        return recipe.n_tokens
    n_steps = done
    while replace(recipe, n_tokens=n_steps * recipe.batch_tokens).decay_from() < done:
        n_steps += 1
    return min(recipe.n_tokens, n_steps * recipe.batch_tokens)
