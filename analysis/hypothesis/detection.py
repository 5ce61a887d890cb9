"""Given that a hypothesis fits, does the neuron fire? Precision and recall over every threshold. Pure.

Activations are float16, in which there are at most 65,536 values: tokens are counted by value, and everything
follows from the counts, ties included. Legend: N tokens, U values that occur.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.hypothesis.language import Marks
from analysis.intervals import Estimate

Activations = npt.NDArray[np.float16]
Floats = npt.NDArray[np.float64]
N_VALUES = 65_536
MAX_CLASSES = 2048
"""Values that are told apart where contexts are drawn anew; more are joined with their neighbours."""

_BITS = np.arange(N_VALUES)
_ORDINALS = np.where(_BITS & 0x8000, 0xFFFF - _BITS, _BITS + 0x8000)
"""By the bits of a float16, which are its sign and a number that grows with its size."""
_ORDINALS[0x8000] = _ORDINALS[0]  # both zeros are one


@dataclass(frozen=True)
class DetectionCurve:
    """What a neuron finds at every threshold, the highest first."""

    values: Floats
    """`[U]` thresholds: at each the neuron says yes from there on."""
    fitting: Floats
    """`[U]` tokens that fit from each threshold on."""
    seen: Floats
    """`[U]` all tokens from each threshold on."""

    @property
    def precision(self) -> Floats:
        """`[U]` of the tokens from the threshold on, those that fit."""
        return self.fitting / np.maximum(self.seen, 1e-300)

    @property
    def recall(self) -> Floats:
        """`[U]` of the tokens that fit, those from the threshold on; NaN where none fits."""
        total = self.fitting[-1] if len(self.fitting) else 0.0
        return self.fitting / total if total else np.full(len(self.fitting), np.nan)

    @property
    def average_precision(self) -> float:
        """The mean precision, weighted by what each threshold adds to the recall; NaN where none fits."""
        return float(_average_precision(self.fitting, self.seen))

    @property
    def auc(self) -> float:
        """The chance that a token that fits has the higher activation than one that does not, ties counted
        by half; NaN where one of them is missing."""
        return float(_auc(self.fitting, self.seen))

    @property
    def best(self) -> int:
        """Index of the threshold with the highest F1, the harmonic mean of precision and recall."""
        total = self.fitting[-1] if len(self.fitting) else 0.0
        return int(np.argmax(2 * self.fitting / np.maximum(self.seen + total, 1e-300)))


@dataclass(frozen=True)
class Detection:
    """How well a neuron tells the tokens that fit from the others, with 95% intervals."""

    curve: DetectionCurve
    n_fit: int
    n_tokens: int
    average_precision: Estimate
    auc: Estimate

    @property
    def base(self) -> float:
        """The share of all tokens that fit."""
        return self.n_fit / self.n_tokens if self.n_tokens else float("nan")


def detection_curve(values: Activations, marks: Marks) -> DetectionCurve:
    """Count tokens that fit and all tokens from every threshold on.

    Args:
        values: `[N]` activations. marks: `[N]` whether each token fits.
    """
    return _curve(_counts(values[marks]), _counts(values))


def detection(
    values: Activations, marks: Marks, contexts: npt.NDArray[np.int64], draws: int = 200, seed: int = 0
) -> Detection:
    """How well a neuron tells the tokens that fit from the others.

    Args:
        values: `[N]` activations. marks: `[N]` whether each token fits.
        contexts: `[N]` which context each token is of, from 0: intervals come from drawing contexts anew,
            with replacement, since tokens of one text are alike.
    """
    curve = detection_curve(values, marks)
    found = np.full((draws, 2), np.nan)
    joined = np.full(2, np.nan)
    n_contexts = int(contexts.max(initial=-1)) + 1
    if marks.any() and not marks.all():
        classes, n_classes = _classes(values, curve)
        cells, shape = contexts * n_classes + classes, (n_contexts, n_classes)
        fits = np.bincount(cells[marks], minlength=n_contexts * n_classes).reshape(shape).astype(np.float32)
        seen = np.bincount(cells, minlength=n_contexts * n_classes).reshape(shape).astype(np.float32)
        weights = np.random.default_rng(seed).multinomial(
            n_contexts, np.full(n_contexts, 1 / n_contexts), size=draws
        )
        times = weights.astype(np.float32)  # whole numbers below 2^24, so that sums are exact
        joined = _scores(fits.sum(axis=0), seen.sum(axis=0))
        found = _scores(times @ fits, times @ seen)
    exact = (curve.average_precision, curve.auc)
    average_precision, auc = (_interval(*row) for row in zip(exact, joined, found.T, strict=True))
    return Detection(curve, int(marks.sum()), len(marks), average_precision, auc)


def ordinals(values: Activations) -> npt.NDArray[np.int64]:
    """`[N]` numbers from 0 to 65,535 in the order of float16 values; both zeros are one."""
    return _ORDINALS[np.ascontiguousarray(values).view(np.uint16)]


def _values(keys: npt.NDArray[np.int64]) -> Floats:
    """The inverse of `ordinals`."""
    bits = np.where(keys < 0x8000, 0xFFFF - keys, keys - 0x8000).astype(np.uint16)
    return bits.view(np.float16).astype(np.float64)


def _counts(values: Activations) -> Floats:
    """`[65,536]` how often each value occurs, in the order of `ordinals`."""
    by_bits = np.bincount(values.view(np.uint16), minlength=N_VALUES)
    return np.bincount(_ORDINALS, by_bits, N_VALUES).astype(np.float64)


def _classes(values: Activations, curve: DetectionCurve) -> tuple[npt.NDArray[np.int64], int]:
    """`[N]` the class of each token, ascending in its value, and the number of classes: a value each, or,
    of more than `MOST_CLASSES`, neighbours joined so that about as many tokens that fit are in each, and
    about as many that do not."""
    used = ordinals(curve.values[::-1].astype(np.float16))
    fits = np.diff(curve.fitting, prepend=0.0)[::-1]
    others = np.diff(curve.seen, prepend=0.0)[::-1] - fits
    rank = np.arange(len(used))
    if len(used) > MAX_CLASSES:
        below = [np.cumsum(part) / part.sum() for part in (fits, others)]
        cuts = sum(np.floor(share * (MAX_CLASSES // 2 - 1)) for share in below)
        rank = np.cumsum(np.diff(cuts, prepend=0) > 0)
    by_ordinal = np.zeros(N_VALUES, dtype=np.int64)
    by_ordinal[used] = rank
    return by_ordinal[ordinals(values)], int(rank[-1]) + 1


def _scores(fits: npt.NDArray[np.generic], seen: npt.NDArray[np.generic]) -> Floats:
    """`[..., 2]` average precision and AUC from counts by class, `[..., C]`, ascending."""
    fitting, every = (np.cumsum(counts[..., ::-1], axis=-1, dtype=np.float64) for counts in (fits, seen))
    return np.stack([_average_precision(fitting, every), _auc(fitting, every)], axis=-1)


def _average_precision(fitting: Floats, seen: Floats) -> Floats:
    """Along the last axis, from counts from each threshold on, see `Curve`."""
    added = np.diff(fitting, axis=-1, prepend=0.0)
    with np.errstate(invalid="ignore"):
        precise = np.sum(added * fitting / np.maximum(seen, 1e-300), axis=-1)
        return np.asarray(precise / fitting.max(axis=-1, initial=0.0))


def _auc(fitting: Floats, seen: Floats) -> Floats:
    """Likewise."""
    fits, others = np.diff(fitting, axis=-1, prepend=0.0), np.diff(seen - fitting, axis=-1, prepend=0.0)
    with np.errstate(invalid="ignore"):  # of each value's others, fits above it and half of those at it
        return np.asarray(
            np.sum(others * (fitting - fits / 2), axis=-1) / (fits.sum(axis=-1) * others.sum(axis=-1))
        )


def _curve(fits: Floats, seen: Floats) -> DetectionCurve:
    """From counts by value, in the order of `ordinals`."""
    used = np.flatnonzero(seen)[::-1]
    return DetectionCurve(_values(used), np.cumsum(fits[used]), np.cumsum(seen[used]))


def _interval(value: float, joined: float, drawn: Floats) -> Estimate:
    """From drawn values of a score; what the joining of classes took from the score itself is given back."""
    finite = drawn[np.isfinite(drawn)]
    if not len(finite):
        return Estimate(value, float("nan"), float("nan"))
    low, high = np.clip(np.quantile(finite, [0.025, 0.975]) + value - joined, 0, 1)
    return Estimate(value, float(low), float(high))
