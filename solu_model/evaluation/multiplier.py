"""The effective model-size multiplier (paper, Figure 1): how much larger a baseline would have to be.

A power law L(N) = c + a N^-alpha is fitted to the losses of baselines of several sizes N; a model of size N
with loss L is worth a baseline of the size that the law gives for L, and its multiplier is that size over N.
The uncertainty is that of the losses (from seed to seed), carried through the fit by drawing them again.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import safe_open

_EXPONENTS = np.geomspace(0.02, 2.0, 400)
_NOT_COUNTED = ("embed.W_E", "pos_embed.W_pos", "unembed.W_U", "unembed.b_U")

Losses = npt.NDArray[np.float64]


class MultiplierError(ValueError):
    """Losses that no multiplier follows from: what was expected, what was found, what to do."""


@dataclass(frozen=True, slots=True)
class Sized:
    """A model's size and loss."""

    name: str
    n_parameters: int
    """Without embeddings and unembedding, as scaling laws count."""
    loss: float
    """Nats a token of text it was not trained on."""


@dataclass(frozen=True, slots=True)
class Multiplier:
    """What a model is worth, in baselines."""

    model: Sized
    value: float
    """1 is the baseline's; infinite where no baseline of the fit is as good."""
    low: float
    high: float
    """Of a 95% interval."""


def measured(folder: Path) -> Sized:
    """A model's size and loss, from its folder: `model.safetensors` and `evaluation.json`.

    Raises:
        MultiplierError: one of them is not there or damaged.
    """
    try:
        said = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
        loss = float(said["all"]["nats_per_token"])
        with safe_open(folder / "model.safetensors", framework="np") as weights:
            sizes = {name: prod(weights.get_slice(name).get_shape()) for name in weights.keys()}  # noqa: SIM118
    except Exception as error:  # whatever a damaged file does to its readers
        raise MultiplierError(
            f"{folder} needs model.safetensors and evaluation.json ({error}): measure its loss with "
            f"`solu evaluate --model {folder} --data TEXT --out {folder}/evaluation.json`"
        ) from error
    n_parameters = sum(size for name, size in sizes.items() if name not in _NOT_COUNTED)
    return Sized(folder.resolve().name, n_parameters, loss)


def multipliers(
    baselines: Sequence[Sized], models: Sequence[Sized], noise: float, *, draws: int = 4000, seed: int = 0
) -> list[Multiplier]:
    """What each model is worth, in baselines, with 95% intervals.

    Args:
        baselines: of at least two sizes; with two the law has no constant c.
        noise: standard deviation of a loss from seed to seed, in nats.

    Raises:
        MultiplierError: the baselines are too few or too alike, or a number is none.
    """
    sizes = np.array([b.n_parameters for b in baselines], dtype=np.float64)
    losses = np.array([b.loss for b in baselines])
    others = np.array([m.loss for m in models])
    if len(set(sizes.tolist())) < 2:
        raise MultiplierError(f"expected baselines of at least two sizes, found {len(set(sizes.tolist()))}")
    if not (np.isfinite(losses).all() and np.isfinite(others).all() and np.isfinite(noise) and noise >= 0):
        raise MultiplierError("expected losses and a noise that are numbers, in nats a token")
    chance = np.random.default_rng(seed)
    drawn = np.concatenate([losses[None], losses + noise * chance.standard_normal((draws, len(losses)))])
    drawn_others = np.concatenate(
        [others[None], others + noise * chance.standard_normal((draws, len(others)))]
    )
    worth = _size_at(sizes, drawn, drawn_others) / np.array([m.n_parameters for m in models])
    low, high = np.percentile(worth[1:], [2.5, 97.5], axis=0, method="nearest")
    return [
        Multiplier(m, float(v), float(a), float(b))
        for m, v, a, b in zip(models, worth[0], low, high, strict=True)
    ]


def _size_at(sizes: Losses, losses: Losses, wanted: Losses) -> Losses:
    """`[draws, wanted]` the sizes at which laws fitted to `[draws, sizes]` losses give the wanted ones.

    For each exponent the best c (not below 0) and a are linear least squares; the exponent with the least
    squares of all is taken.
    """
    scale = np.exp(np.log(sizes).mean())
    best = np.full(len(losses), np.inf)
    law = np.zeros((3, len(losses)))
    for alpha in _EXPONENTS:
        x = (sizes / scale) ** -alpha
        a_alone = losses @ x / (x @ x)
        c, a = np.zeros(len(losses)), a_alone
        if len(set(sizes.tolist())) > 2:
            centred = x - x.mean()
            free = losses @ centred / (centred @ centred)
            constant = losses.mean(1) - free * x.mean()
            c, a = np.where(constant > 0, constant, 0.0), np.where(constant > 0, free, a_alone)
        squares = ((losses - c[:, None] - a[:, None] * x) ** 2).sum(1)
        better = squares < best
        best[better] = squares[better]
        law[:, better] = np.array([c, a, np.full(len(losses), alpha)])[:, better]
    c, a, alpha_ = law[:, :, None]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        share = (wanted - c) / a
        found: Losses = np.where(share > 0, share ** (-1 / alpha_), np.inf) * scale
    return found
