"""Given that a hypothesis fits, does the neuron fire? Precision and recall over every threshold. Pure.

Activations are float16, in which there are at most 65,536 values: tokens are counted by value, and everything
follows from the counts, ties included. Legend: N tokens, U values that occur.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dashboard.analysis.lab.consistency import Estimate
from dashboard.analysis.lab.hypothesis import Marks

Halves = npt.NDArray[np.float16]
Floats = npt.NDArray[np.float64]
N_VALUES = 65_536

_BITS = np.arange(N_VALUES)
_ORDINALS = np.where(_BITS & 0x8000, 0xFFFF - _BITS, _BITS + 0x8000)
"""By the bits of a float16, which are its sign and a number that grows with its size."""
_ORDINALS[0x8000] = _ORDINALS[0]  # both zeros are one


@dataclass(frozen=True)
class Curve:
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
        return float(np.sum(np.diff(self.recall, prepend=0.0) * self.precision))

    @property
    def auc(self) -> float:
        """The chance that a token that fits has the higher activation than one that does not, ties counted
        by half; NaN where one of them is missing."""
        fits = np.diff(self.fitting, prepend=0.0)
        others = np.diff(self.seen - self.fitting, prepend=0.0)
        pairs = fits.sum() * others.sum()
        before = np.cumsum(fits) - fits / 2  # above each value, and half of those at it
        return float(np.sum(others * before) / pairs) if pairs else float("nan")

    @property
    def best(self) -> int:
        """Index of the threshold with the highest F1, the harmonic mean of precision and recall."""
        total = self.fitting[-1] if len(self.fitting) else 0.0
        return int(np.argmax(2 * self.fitting / np.maximum(self.seen + total, 1e-300)))


@dataclass(frozen=True)
class Detection:
    """How well a neuron tells the tokens that fit from the others, with 95% intervals."""

    curve: Curve
    n_fit: int
    n_tokens: int
    average_precision: Estimate
    auc: Estimate

    @property
    def base(self) -> float:
        """The share of all tokens that fit."""
        return self.n_fit / self.n_tokens if self.n_tokens else float("nan")


def curve_of(values: Halves, marks: Marks) -> Curve:
    """Count tokens that fit and all tokens from every threshold on.

    Args:
        values: `[N]` activations. marks: `[N]` whether each token fits.
    """
    keys = ordinals(values)
    return _curve(np.bincount(keys[marks], minlength=N_VALUES), np.bincount(keys, minlength=N_VALUES))


def detection(
    values: Halves, marks: Marks, contexts: npt.NDArray[np.int64], draws: int = 200, seed: int = 0
) -> Detection:
    """How well a neuron tells the tokens that fit from the others.

    Args:
        values: `[N]` activations. marks: `[N]` whether each token fits.
        contexts: `[N]` which context each token is of, from 0: intervals come from drawing contexts anew,
            with replacement, since tokens of one text are alike.
    """
    curve = curve_of(values, marks)
    used, keys = np.unique(ordinals(values), return_inverse=True)
    random = np.random.default_rng(seed)
    n_contexts = int(contexts.max(initial=-1)) + 1
    found = np.full((draws, 2), np.nan)
    marked = marks.astype(np.float64)
    for draw in range(draws if marks.any() and not marks.all() else 0):
        weights = random.multinomial(n_contexts, np.full(n_contexts, 1 / n_contexts))[contexts]
        fits = np.bincount(keys, weights * marked, minlength=len(used))
        drawn = _curve(fits, np.bincount(keys, weights, minlength=len(used)))
        found[draw] = drawn.average_precision, drawn.auc
    return Detection(
        curve,
        int(marks.sum()),
        len(marks),
        _interval(curve.average_precision, found[:, 0]),
        _interval(curve.auc, found[:, 1]),
    )


def ordinals(values: Halves) -> npt.NDArray[np.int64]:
    """`[N]` numbers from 0 to 65,535 in the order of float16 values; both zeros are one."""
    return _ORDINALS[np.ascontiguousarray(values).view(np.uint16)]


def _values(keys: npt.NDArray[np.int64]) -> Floats:
    """The inverse of `ordinals`."""
    bits = np.where(keys < 0x8000, 0xFFFF - keys, keys - 0x8000).astype(np.uint16)
    return bits.view(np.float16).astype(np.float64)


def _curve(fits: npt.NDArray[np.generic], seen: npt.NDArray[np.generic]) -> Curve:
    """From counts by value, ascending; of all float16 values, or of those that occur."""
    used = np.flatnonzero(seen)[::-1]
    values = _values(used) if len(seen) == N_VALUES else used.astype(np.float64)
    return Curve(
        values,
        np.cumsum(np.asarray(fits, dtype=np.float64)[used]),
        np.cumsum(np.asarray(seen, dtype=np.float64)[used]),
    )


def _interval(value: float, drawn: Floats) -> Estimate:
    finite = drawn[np.isfinite(drawn)]
    if not len(finite):
        return Estimate(value, float("nan"), float("nan"))
    low, high = np.quantile(finite, [0.025, 0.975])
    return Estimate(value, float(low), float(high))
