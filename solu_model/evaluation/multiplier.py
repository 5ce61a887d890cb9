"""The effective model-size multiplier (paper, Figure 1): size of a baseline with equal loss over own size.

A power law L(N) = c + a N^-alpha is fitted to the losses L of baseline models of several sizes N. For a model
of size N and loss L, the law gives the size of a baseline with loss L; the multiplier is that size divided
by N. The interval reflects the standard deviation of a loss between seeds: losses are drawn again with that
noise, and the fit is repeated.
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
"""Values of alpha to try. Kaplan et al. (2020) found 0.076, Hoffmann et al. (2022) 0.34."""

_UNCOUNTED_PARAMETERS = ("embed.W_E", "pos_embed.W_pos", "unembed.W_U", "unembed.b_U")

FloatArray = npt.NDArray[np.float64]


class MultiplierError(ValueError):
    """The losses do not determine a multiplier. The message states what was expected."""


@dataclass(frozen=True, slots=True)
class MeasuredModel:
    """The size and the loss of a model."""

    name: str
    n_parameters: int
    """Parameters without embeddings and unembedding, as in scaling laws."""
    loss: float
    """Held-out loss, in nats per token."""


@dataclass(frozen=True, slots=True)
class Multiplier:
    """The size multiplier of a model, with a 95% interval."""

    model: MeasuredModel
    value: float
    """1 for a baseline; infinite if no baseline, however large, reaches the loss by the fitted law."""
    low: float
    high: float


def read_measured_model(folder: Path) -> MeasuredModel:
    """Read a model's size and loss from its folder: `model.safetensors` and `evaluation.json`.

    Raises:
        MultiplierError: one of the files is missing or damaged.
    """
    try:
        losses = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
        loss = float(losses["all"]["nats_per_token"])
        with safe_open(folder / "model.safetensors", framework="np") as weights:
            sizes = {name: prod(weights.get_slice(name).get_shape()) for name in weights.keys()}  # noqa: SIM118
    except Exception as error:  # the readers raise errors of many types on damaged files
        raise MultiplierError(
            f"{folder} needs model.safetensors and evaluation.json ({error}): measure its loss with "
            f"`solu evaluate --model {folder} --data TEXT --out {folder}/evaluation.json`"
        ) from error
    n_parameters = sum(size for name, size in sizes.items() if name not in _UNCOUNTED_PARAMETERS)
    return MeasuredModel(folder.resolve().name, n_parameters, loss)


def multipliers(
    baselines: Sequence[MeasuredModel],
    models: Sequence[MeasuredModel],
    noise: float,
    *,
    draws: int = 4000,
    seed: int = 0,
) -> list[Multiplier]:
    """Compute the size multiplier of each model.

    Args:
        baselines: baseline models of at least two sizes. With exactly two sizes, the law has no constant c.
        models: the models to compare.
        noise: standard deviation of a loss between seeds, in nats per token.
        draws: number of draws for the intervals.
        seed: seed of the draws.

    Returns:
        One multiplier for each model, in the order of `models`.

    Raises:
        MultiplierError: the baselines have fewer than two sizes, or a loss or the noise is NaN or infinity.
    """
    sizes = np.array([b.n_parameters for b in baselines], dtype=np.float64)
    losses = np.array([b.loss for b in baselines])
    others = np.array([m.loss for m in models])
    if len(set(sizes.tolist())) < 2:
        raise MultiplierError(f"expected baselines of at least two sizes, got {len(set(sizes.tolist()))}")
    if not (np.isfinite(losses).all() and np.isfinite(others).all() and np.isfinite(noise) and noise >= 0):
        raise MultiplierError(
            "expected losses and a noise that are finite, the noise at least 0, in nats per token"
        )
    generator = np.random.default_rng(seed)
    drawn = np.concatenate([losses[None], losses + noise * generator.standard_normal((draws, len(losses)))])
    drawn_others = np.concatenate(
        [others[None], others + noise * generator.standard_normal((draws, len(others)))]
    )
    # Row 0 holds the losses as measured, the other rows the draws.
    values = _size_at(sizes, drawn, drawn_others) / np.array([m.n_parameters for m in models])
    # "nearest" takes a drawn value: interpolating between a number and infinity would give NaN.
    low, high = np.percentile(values[1:], [2.5, 97.5], axis=0, method="nearest")
    return [
        Multiplier(m, float(v), float(a), float(b))
        for m, v, a, b in zip(models, values[0], low, high, strict=True)
    ]


def _size_at(sizes: FloatArray, losses: FloatArray, wanted: FloatArray) -> FloatArray:
    """Fit a law to each row of losses and return the sizes at which it reaches the wanted losses.

    For each exponent, the best c (at least 0) and a follow from linear least squares. The exponent with the
    smallest sum of squares is chosen.

    Args:
        sizes: `[n_baselines]`.
        losses: `[draws, n_baselines]`.
        wanted: `[draws, n_models]`.

    Returns:
        `[draws, n_models]`; infinity where the wanted loss is not above c.
    """
    scale = np.exp(np.log(sizes).mean())  # keeps x near 1, so that the least squares are well conditioned
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
        at_loss: FloatArray = np.where(share > 0, share ** (-1 / alpha_), np.inf) * scale
    return at_loss
