"""The effective model-size multiplier (paper, Figure 1): size of a baseline with equal loss over own size.

A power law L(N) = c + a N^-alpha is fitted to the losses L of baseline models of several sizes N. For a model
of size N and loss L, the law gives the size of a baseline with loss L; the multiplier is that size divided
by N. The interval reflects the standard deviation of a loss between seeds: losses are drawn again with that
noise, and the fit is repeated. Draws in which the law does not fall with size have no multiplier. They widen
the interval at both ends: if they are too many, it reaches from 0 to infinity.

The law, and so the multiplier, is undefined if the loss of the baselines does not fall with their size.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, prod
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import safe_open

from solu_model.evaluation.losses import EVALUATION_FILE

_log = logging.getLogger(__name__)

_EXPONENTS = np.geomspace(0.02, 2.0, 400)
"""Values of alpha to try. Kaplan et al. (2020) found 0.076, Hoffmann et al. (2022) 0.34."""

_LEAST_FALL = 1e-9
"""Share of the mean loss by which a law falls at least from the smallest to the largest baseline: less is
rounding."""
_TOLERANCE = 1.02  # of sizes: the exponents are a grid
_SHOWN = 60  # characters of a model's name in an error

_UNCOUNTED_PARAMETERS = ("embed.W_E", "pos_embed.W_pos", "unembed.W_U", "unembed.b_U")

_MODULES = ("embed.", "pos_embed.", "blocks.", "ln_final.", "unembed.")
"""Beginnings of the names of a model's parameters."""

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
    n_tokens: int | None = None
    """Tokens that the loss was measured on; None if unknown."""


@dataclass(frozen=True, slots=True)
class Multiplier:
    """The size multiplier of a model, with a 95% interval."""

    model: MeasuredModel
    value: float
    """1 for a baseline; infinite if no baseline, however large, reaches the loss by the fitted law."""
    low: float
    high: float
    is_extrapolated: bool
    """True if the baseline of equal loss would be smaller or larger than all measured baselines."""


def read_measured_model(folder: Path) -> MeasuredModel:
    """Read a model's size and loss from its folder: `model.safetensors` and `evaluation.json`.

    Raises:
        MultiplierError: one of the files is missing or damaged, or the weights are in another format.
    """
    try:
        total = json.loads((folder / EVALUATION_FILE).read_bytes())["all"]
        loss, n_tokens = float(total["nats_per_token"]), total.get("n_tokens")
        with safe_open(folder / "model.safetensors", framework="np") as weights:
            sizes = {name: prod(weights.get_slice(name).get_shape()) for name in weights.keys()}  # noqa: SIM118
    except Exception as error:  # the readers raise errors of many types on damaged files
        raise MultiplierError(
            f"{folder} needs model.safetensors and {EVALUATION_FILE} ({str(error)[:_SHOWN]}): measure its "
            f"loss with `solu evaluate --model {folder} --data TEXT --out {folder / EVALUATION_FILE}`"
        ) from error
    if others := [name for name in sizes if not name.startswith(_MODULES)]:
        raise MultiplierError(
            f"{folder / 'model.safetensors'} has the parameter {others[0][:_SHOWN]!r}, which is not of this "
            "package's format: embeddings could not be told apart. Convert it with "
            f"`solu convert {folder} DST`"
        )
    n_parameters = sum(size for name, size in sizes.items() if name not in _UNCOUNTED_PARAMETERS)
    return MeasuredModel(
        folder.resolve().name, n_parameters, loss, n_tokens if isinstance(n_tokens, int) else None
    )


def holds_multipliers(file: Path) -> bool:
    """Return True if a file is a list that `solu multiplier --out` wrote."""
    try:
        rows = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(rows, list) and all(isinstance(r, dict) and "multiplier" in r for r in rows)


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
        MultiplierError: the baselines have fewer than two sizes or no loss that falls with size, a size or a
            loss is not above 0 and finite, or the noise is negative, NaN or infinite.
    """
    sizes = np.array([b.n_parameters for b in baselines], dtype=np.float64)
    losses = np.array([b.loss for b in baselines], dtype=np.float64)
    others = np.array([m.loss for m in models], dtype=np.float64)
    for measured in (*baselines, *models):
        if not (isfinite(measured.loss) and measured.loss > 0 and measured.n_parameters >= 1):
            raise MultiplierError(
                f"{measured.name} has {measured.n_parameters:,} parameters without embeddings and a loss of "
                f"{measured.loss} nats per token: expected at least 1, and a finite loss above 0"
            )
    texts = {m.n_tokens: m.name for m in (*baselines, *models) if m.n_tokens is not None}
    if len(texts) > 1:
        listed = ", ".join(f"{name[:_SHOWN]} {n:,}" for n, name in list(texts.items())[:4])
        raise MultiplierError(
            f"the losses were measured on different text (tokens: {listed}): measure all models with the "
            "same --data and tokenizer"
        )
    if not (isfinite(noise) and noise >= 0):
        raise MultiplierError(f"expected a noise that is finite and at least 0, got {noise}")
    if len(set(sizes.tolist())) < 2:
        raise MultiplierError(
            f"expected baselines of at least two sizes, got {len(set(sizes.tolist()))}: give another one"
        )
    generator = np.random.default_rng(seed)
    drawn = np.concatenate([losses[None], losses + noise * generator.standard_normal((draws, len(losses)))])
    drawn_others = np.concatenate(
        [others[None], others + noise * generator.standard_normal((draws, len(others)))]
    )
    # Row 0 holds the losses as measured, the other rows the draws.
    law = _fit(sizes, drawn)
    if not law.falls[0]:
        raise MultiplierError(
            "the multiplier is undefined, since the loss of the baselines does not fall with their size: "
            f"{_listed(baselines)}. Give baselines that were trained alike, in several sizes"
        )
    if noise and (miss := float(np.abs(law.losses_at(sizes)[0] - losses).max())) > 3 * noise:
        _log.warning(
            "the law misses the loss of a baseline by %.4f nats per token, more than three times the noise: "
            "the intervals are too narrow",
            miss,
        )
    values = law.sizes_at(drawn_others) / np.array([m.n_parameters for m in models])
    # A draw without a law says nothing, so it lies beyond both ends.
    undefined = ~law.falls[1:, None]
    ends = np.where(undefined, 0.0, values[1:]), np.where(undefined, np.inf, values[1:])
    # "nearest" takes a drawn value: interpolating between a number and infinity would give NaN.
    low, high = (
        np.percentile(drawn_values, share, axis=0, method="nearest")
        for drawn_values, share in zip(ends, (2.5, 97.5), strict=True)
    )
    equal = values[0] * np.array([m.n_parameters for m in models])
    outside = (equal < sizes.min() / _TOLERANCE) | (equal > sizes.max() * _TOLERANCE)
    return [
        Multiplier(m, float(v), float(a), float(b), bool(is_outside))
        for m, v, a, b, is_outside in zip(models, values[0], low, high, outside, strict=True)
    ]


def _listed(baselines: Sequence[MeasuredModel]) -> str:
    """List sizes and losses, the smallest baseline first; the middle of a long list is left out."""
    ordered = sorted(baselines, key=lambda b: b.n_parameters)
    listed = [f"{b.name[:_SHOWN]} ({b.n_parameters:,} parameters) {b.loss:.4f}" for b in ordered]
    return ", ".join(listed if len(listed) <= 6 else [*listed[:3], "...", *listed[-3:]])


@dataclass(frozen=True, slots=True)
class _Law:
    """Laws L(N) = c + a (N / scale)^-alpha, one for each row of losses: `[draws]` each."""

    scale: float
    c: FloatArray
    a: FloatArray
    alpha: FloatArray
    falls: npt.NDArray[np.bool_]
    """False where the loss does not fall with size; the other fields then mean nothing."""

    def losses_at(self, sizes: FloatArray) -> FloatArray:
        """Return the losses at some sizes, `[draws, n_sizes]`."""
        x = (sizes / self.scale) ** -self.alpha[:, None]
        return self.c[:, None] + self.a[:, None] * x

    def sizes_at(self, losses: FloatArray) -> FloatArray:
        """Return the sizes with some losses, `[draws, n_losses]`; infinity where a loss is not above c."""
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            share = (losses - self.c[:, None]) / self.a[:, None]
            sizes: FloatArray = np.where(share > 0, share ** (-1 / self.alpha[:, None]), np.inf) * self.scale
        return sizes


def _fit(sizes: FloatArray, losses: FloatArray) -> _Law:
    """Fit a law to each row of losses, `[draws, n_baselines]`, by least squares.

    With two sizes, the law without a constant passes through the mean loss of each. With more, the best c (at
    least 0) and a follow from linear least squares for each exponent, and the exponent with the smallest sum
    of squares is chosen.
    """
    scale = float(np.exp(np.log(sizes).mean()))  # keeps x near 1: the least squares are well conditioned
    if len(set(sizes.tolist())) == 2:
        c, a, alpha = _fit_two_sizes(sizes, losses, scale)
    else:
        c, a, alpha = _fit_more_sizes(sizes, losses, scale)
    with np.errstate(invalid="ignore", over="ignore"):
        fall = a * ((sizes.min() / scale) ** -alpha - (sizes.max() / scale) ** -alpha)
        falls = (a > 0) & (alpha > 0) & (fall > _LEAST_FALL * np.abs(losses).mean(1))
    return _Law(scale, c, a, alpha, falls)


def _fit_two_sizes(
    sizes: FloatArray, losses: FloatArray, scale: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return c = 0, a and alpha."""
    small, large = sizes.min(), sizes.max()
    means = [losses[:, sizes == size].mean(1) for size in (small, large)]
    with np.errstate(divide="ignore", invalid="ignore"):
        alpha = np.log(means[0] / means[1]) / np.log(large / small)
        alpha = np.where(np.isfinite(alpha), alpha, 0.0)
    return np.zeros(len(losses)), means[0] * (small / scale) ** alpha, alpha


def _fit_more_sizes(
    sizes: FloatArray, losses: FloatArray, scale: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return c, a and alpha."""
    best = np.full(len(losses), np.inf)
    law = np.zeros((3, len(losses)))
    for alpha in _EXPONENTS:
        x = (sizes / scale) ** -alpha
        centred = x - x.mean()
        free = losses @ centred / (centred @ centred)
        constant = losses.mean(1) - free * x.mean()
        c = np.where(constant > 0, constant, 0.0)
        a = np.where(constant > 0, free, losses @ x / (x @ x))
        squares = ((losses - c[:, None] - a[:, None] * x) ** 2).sum(1)
        better = squares < best
        best[better] = squares[better]
        law[:, better] = np.array([c, a, np.full(len(losses), alpha)])[:, better]
    return law[0], law[1], law[2]
