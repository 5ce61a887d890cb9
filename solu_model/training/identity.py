"""`run.json`: the identity of the run in a folder, and its length.

A run with another model, recipe, data or initial weights is refused. Settings that change only the speed or
the files written during training may differ. The precision of matrix products may differ too, so that a run
can move to a machine without bf16; its weights are then no longer the same bit for bit.
"""

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

from solu_model.config import SoluConfig
from solu_model.files import written_aside
from solu_model.loading.checkpoint_files import weights_hash
from solu_model.text.documents import DEFAULT_OPTIONS, CorpusOptions, corpus_names
from solu_model.training.checkpoints import all_checkpoints
from solu_model.training.recipe import Recipe, TrainingError

LengthChange = Literal["extend", "decay-now"]
"""`extend`: continue to the recipe's `n_tokens` from before the decay. `decay-now`: begin the decay at the
last checkpoint; the run ends with the decay."""

_PREPARED = re.compile(r"run\.lock$|run\.json\..*\.partial$|tokens$|tokenizer|special_tokens_map\.json$")
"""Names in the folder of a run before `run.json` is there."""

_MADE = ("tokenizer.json", "tokens", "checkpoints")
"""Names in the folder of a run of which one is there from its first file on."""

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
    text: CorpusOptions = DEFAULT_OPTIONS,
) -> None:
    """Record the run, its length and its warm-up in `run.json`; refuse a folder that holds another run.

    Args:
        out: the run's folder.
        config: the model.
        recipe: with the tokens of whole rows, see `Recipe.of_whole_rows`. A warm-up that is not given is that
            of the run in the folder.
        data: corpus paths.
        init_from: the checkpoint that the run begins with.
        change: of the run's length.

    Raises:
        TrainingError: the folder holds another run, a new run is shorter than a step or than its warm-up, or
            the run's length cannot be changed in this way.
    """
    file = out / "run.json"
    recorded = _read(file) if file.is_file() else None
    # A command that was refused or killed before it made anything does not bind the next one.
    if recorded is None or not any((out / name).exists() for name in _MADE):
        if change is not None:
            raise TrainingError(
                f"{out} holds no run whose length could be changed: start one first, without --{change}"
            )
        _check_length(recipe)
        _write(file, _identity(config, replace(recipe, warmup_steps=recipe.warmup()), data, init_from, text))
        return
    if recipe.warmup_steps is None:
        recipe = replace(recipe, warmup_steps=recorded["recipe"]["warmup_steps"])
    identity = _identity(config, recipe, data, init_from, text)
    then = replace(recipe, n_tokens=recorded["recipe"]["n_tokens"])
    expected = identity if change is None else _identity(config, then, data, init_from, text)
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
        _write(file, _identity(config, replace(recipe, n_tokens=n_tokens), data, init_from, text))


def recorded_recipe(out: Path, recipe: Recipe) -> Recipe:
    """Return the recipe with the length and the warm-up of the run in a folder."""
    recorded = _read(out / "run.json")["recipe"]
    return replace(recipe, n_tokens=recorded["n_tokens"], warmup_steps=recorded["warmup_steps"])


def holds_run(folder: Path) -> bool:
    """Return True for the folder of a run, or one that was prepared for a run: tokens, a tokenizer."""
    if not folder.is_dir():
        return False
    return (folder / "run.json").is_file() or all(_PREPARED.match(p.name) for p in folder.iterdir())


def _identity(
    config: SoluConfig,
    recipe: Recipe,
    data: Sequence[str | Path],
    init_from: Path | None,
    text: CorpusOptions,
) -> dict[str, Any]:
    shape = {name: getattr(config, name) for name in SoluConfig.__annotations__ if name != "attribute_map"}
    fixed = {name: value for name, value in asdict(recipe).items() if name not in _FREE}
    identity = {"config": shape, "recipe": fixed, "data": {"paths": corpus_names(data, text)}}
    identity["init"] = {"weights": None if init_from is None else weights_hash(init_from)}
    return dict(json.loads(json.dumps(identity)))


def _check_length(recipe: Recipe) -> None:
    """Refuse a run that ends before its first step, or in its warm-up."""
    if recipe.n_tokens < recipe.batch_tokens:
        raise TrainingError(
            f"{recipe.n_tokens} tokens are less than one step of {recipe.batch_tokens} tokens: give --tokens "
            f"{recipe.batch_tokens} or more, or a smaller --batch"
        )
    if recipe.warmup_steps and recipe.warmup_steps >= recipe.n_steps():
        raise TrainingError(
            f"a warm-up of {recipe.warmup_steps} steps does not end in a run of {recipe.n_steps()} steps of "
            f"{recipe.batch_tokens} tokens: give a smaller --warmup, or leave it out"
        )


def _read(file: Path) -> dict[str, Any]:
    """Read `run.json`.

    Raises:
        TrainingError: it is damaged.
    """
    try:
        recorded = json.loads(file.read_bytes())
        recipe, n_ctx = recorded["recipe"], int(recorded["config"]["n_ctx"])
        # Older versions recorded the tokens of a step as given, not those of whole rows.
        recipe["batch_tokens"] = (
            Recipe(n_tokens=int(recipe["n_tokens"]), batch_tokens=int(recipe["batch_tokens"]))
            .of_whole_rows(n_ctx)
            .batch_tokens
        )
        recipe["warmup_steps"] = int(recipe["warmup_steps"])
        if not all(isinstance(part, dict) for part in recorded.values()):
            raise TypeError("expected objects")
    except (OSError, ArithmeticError, LookupError, TypeError, ValueError, RuntimeError) as error:
        raise TrainingError(
            f"{file} is damaged ({str(error)[:200]}): copy it from a backup, or give another --out"
        ) from error
    return dict(recorded)


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
