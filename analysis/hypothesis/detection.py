"""Detection: how well a neuron's activation finds the tokens that fit a hypothesis, over every threshold.

Activations are float16, which has at most 65,536 values: tokens are counted by value, and precision, recall
and the area under the ROC curve follow from the counts, ties included.

Legend: N tokens, U distinct values, C classes of values, B bootstrap samples.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.hypothesis.language import Marks
from analysis.intervals import Estimate

Activations = npt.NDArray[np.float16]
"""`[N]`, of one neuron at one hook."""
Floats = npt.NDArray[np.float64]
N_VALUES = 65_536
MAX_CLASSES = 2048
"""Classes of values in the bootstrap; neighbouring values are joined beyond that, to bound memory."""

_TINY = 1e-300  # keeps 0 / 0 at 0 without a warning

# Position of each float16 among all, by its bits. The bits are a sign and a number that grows with the size:
# the order of negative values is reversed, and positive values follow them.
_BITS = np.arange(N_VALUES)
_ORDINALS = np.where(_BITS & 0x8000, 0xFFFF - _BITS, _BITS + 0x8000)
_ORDINALS[0x8000] = _ORDINALS[0]  # -0 equals +0


@dataclass(frozen=True)
class DetectionCurve:
    """Counts of tokens at or above every threshold, the highest threshold first."""

    values: Floats
    """`[U]`, thresholds: the activations that occur."""
    n_fit: Floats
    """`[U]`, tokens at or above each threshold that fit."""
    n_above: Floats
    """`[U]`, all tokens at or above each threshold."""

    @property
    def precision(self) -> Floats:
        """`[U]`, share that fits of the tokens at or above the threshold."""
        return self.n_fit / np.maximum(self.n_above, _TINY)

    @property
    def recall(self) -> Floats:
        """`[U]`, share at or above the threshold of the tokens that fit; NaN if none fits."""
        total = self.n_fit[-1] if len(self.n_fit) else 0.0
        return self.n_fit / total if total else np.full(len(self.n_fit), np.nan)

    @property
    def average_precision(self) -> float:
        """Sum over thresholds of precision times the recall that each adds; NaN if no token fits.

        Without interpolation, as scikit-learn's `average_precision_score`.
        """
        return float(_average_precision(self.n_fit, self.n_above))

    @property
    def auc(self) -> float:
        """Area under the ROC curve: the probability that a token that fits has a higher activation than one
        that does not, ties counted half (Mann and Whitney, 1947); NaN if one kind is missing."""
        return float(_auc(self.n_fit, self.n_above))

    @property
    def best(self) -> int:
        """Index of the threshold with the highest F1, the harmonic mean of precision and recall."""
        total = self.n_fit[-1] if len(self.n_fit) else 0.0
        return int(np.argmax(2 * self.n_fit / np.maximum(self.n_above + total, _TINY)))


@dataclass(frozen=True)
class Detection:
    """Scores of a neuron as a detector of what fits, with 95% intervals."""

    curve: DetectionCurve
    n_fit: int
    n_tokens: int
    average_precision: Estimate
    auc: Estimate

    @property
    def base_rate(self) -> float:
        """Share of all tokens that fit: the precision of a neuron that tells nothing apart."""
        return self.n_fit / self.n_tokens if self.n_tokens else float("nan")


def detection_curve(values: Activations, marks: Marks) -> DetectionCurve:
    """Count fitting tokens and all tokens at or above every threshold.

    Args:
        values: `[N]`, activations.
        marks: `[N]`, whether each token fits.
    """
    return _curve(_counts(values[marks]), _counts(values))


def measure_detection(
    values: Activations, marks: Marks, contexts: npt.NDArray[np.int64], draws: int = 200, seed: int = 0
) -> Detection:
    """Score a neuron as a detector of the tokens that fit.

    Intervals are percentiles of a bootstrap over contexts (Efron, 1979), not over tokens: tokens of one text
    are alike.

    Args:
        values: `[N]`, activations.
        marks: `[N]`, whether each token fits.
        contexts: `[N]`, number of each token's context, from 0.
        draws: bootstrap samples.
        seed: of the random numbers.
    """
    curve = detection_curve(values, marks)
    scores_B = np.full((draws, 2), np.nan)
    joined = np.full(2, np.nan)
    n_contexts = int(contexts.max(initial=-1)) + 1
    if marks.any() and not marks.all():
        classes, n_classes = _classes(values, curve)
        cells, shape = contexts * n_classes + classes, (n_contexts, n_classes)
        fits = np.bincount(cells[marks], minlength=n_contexts * n_classes).reshape(shape).astype(np.float32)
        every = np.bincount(cells, minlength=n_contexts * n_classes).reshape(shape).astype(np.float32)
        weights = np.random.default_rng(seed).multinomial(
            n_contexts, np.full(n_contexts, 1 / n_contexts), size=draws
        )
        # A bootstrap sample is a weight for each context, so that all samples are one matrix product. Counts
        # are whole numbers below 2^24: float32 sums them exactly.
        times = weights.astype(np.float32)
        joined = _scores(fits.sum(axis=0), every.sum(axis=0))
        scores_B = _scores(times @ fits, times @ every)
    exact = (curve.average_precision, curve.auc)
    average_precision, auc = (_interval(*row) for row in zip(exact, joined, scores_B.T, strict=True))
    return Detection(curve, int(marks.sum()), len(marks), average_precision, auc)


def ordinals(values: Activations) -> npt.NDArray[np.int64]:
    """Return `[N]` numbers from 0 to 65,535 in the order of the values; +0 and -0 are equal."""
    return _ORDINALS[np.ascontiguousarray(values).view(np.uint16)]


def _values(keys: npt.NDArray[np.int64]) -> Floats:
    """Invert `ordinals`."""
    bits = np.where(keys < 0x8000, 0xFFFF - keys, keys - 0x8000).astype(np.uint16)
    return bits.view(np.float16).astype(np.float64)


def _counts(values: Activations) -> Floats:
    """Count each value, `[65,536]` in the order of `ordinals`."""
    by_bits = np.bincount(values.view(np.uint16), minlength=N_VALUES)
    return np.bincount(_ORDINALS, by_bits, N_VALUES).astype(np.float64)


def _classes(values: Activations, curve: DetectionCurve) -> tuple[npt.NDArray[np.int64], int]:
    """Return the class of each token, `[N]` ascending in its value, and the number of classes.

    Each value is a class. Beyond `MAX_CLASSES` values, neighbours are joined so that the classes hold about
    as many tokens that fit, and about as many that do not: classes of equal size alone would join all that
    fit where they are few.
    """
    used = ordinals(curve.values[::-1].astype(np.float16))
    fits = np.diff(curve.n_fit, prepend=0.0)[::-1]
    others = np.diff(curve.n_above, prepend=0.0)[::-1] - fits
    rank = np.arange(len(used))
    if len(used) > MAX_CLASSES:
        below = [np.cumsum(part) / part.sum() for part in (fits, others)]
        cuts = sum(np.floor(share * (MAX_CLASSES // 2 - 1)) for share in below)
        rank = np.cumsum(np.diff(cuts, prepend=0) > 0)
    by_ordinal = np.zeros(N_VALUES, dtype=np.int64)
    by_ordinal[used] = rank
    return by_ordinal[ordinals(values)], int(rank[-1]) + 1


def _scores(fits: npt.NDArray[np.generic], every: npt.NDArray[np.generic]) -> Floats:
    """Return average precision and AUC `[..., 2]` from counts by class `[..., C]`, ascending."""
    n_fit, n_above = (np.cumsum(counts[..., ::-1], axis=-1, dtype=np.float64) for counts in (fits, every))
    return np.stack([_average_precision(n_fit, n_above), _auc(n_fit, n_above)], axis=-1)


def _average_precision(n_fit: Floats, n_above: Floats) -> Floats:
    """Reduce the last axis of the counts of a `DetectionCurve` to the average precision."""
    added = np.diff(n_fit, axis=-1, prepend=0.0)
    with np.errstate(invalid="ignore"):
        total = np.sum(added * n_fit / np.maximum(n_above, _TINY), axis=-1)
        return np.asarray(total / n_fit.max(axis=-1, initial=0.0))


def _auc(n_fit: Floats, n_above: Floats) -> Floats:
    """Reduce the last axis of the counts of a `DetectionCurve` to the area under the ROC curve."""
    fits, others = np.diff(n_fit, axis=-1, prepend=0.0), np.diff(n_above - n_fit, axis=-1, prepend=0.0)
    with np.errstate(invalid="ignore"):
        # For the other tokens at each value: the fitting tokens above it, and half of those at it.
        pairs = np.sum(others * (n_fit - fits / 2), axis=-1)
        return np.asarray(pairs / (fits.sum(axis=-1) * others.sum(axis=-1)))


def _curve(fits: Floats, every: Floats) -> DetectionCurve:
    """Build the curve from counts by value, in the order of `ordinals`."""
    used = np.flatnonzero(every)[::-1]
    return DetectionCurve(_values(used), np.cumsum(fits[used]), np.cumsum(every[used]))


def _interval(value: float, joined: float, drawn: Floats) -> Estimate:
    """Return a score with the percentiles of its bootstrap.

    Args:
        value: the exact score.
        joined: the score after classes were joined; the interval is shifted by the difference.
        drawn: `[B]`, scores of the bootstrap samples.
    """
    finite = drawn[np.isfinite(drawn)]  # a sample without a fitting token has no score
    if not len(finite):
        return Estimate(value, float("nan"), float("nan"))
    low, high = np.clip(np.quantile(finite, [0.025, 0.975]) + value - joined, 0, 1)
    return Estimate(value, float(low), float(high))
