"""Consistency of a neuron with a hypothesis: the share of tokens that fit, at every level of activation.

The samples of a range are uniform over its tokens, so their share estimates the share of all its tokens.
Tokens of one text are alike: where whole contexts and not single tokens were drawn, Wilson's interval gets
the effective sample size, the number of independent tokens whose share would vary as much (Korn and Graubard,
Survey Methodology 24, 1998).

Legend: N tokens, C contexts, L levels (ranges of activation above 0, the lowest first).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.hypothesis.language import Context, Marks, Predicate
from analysis.intervals import Z_95, Estimate, student_t_95, weighted_mean, wilson
from cache.format.vocabulary import Vocabulary
from cache.reader import Example, RangeSample


@dataclass(frozen=True, slots=True)
class Level:
    """A range of activation, with the share of its tokens that fit."""

    low: float
    high: float
    count: int
    """Tokens of the corpus in the range, exact."""
    n_fit: int
    """Sampled tokens that fit."""
    n_sampled: int
    share: Estimate
    """Share of all tokens of the range that fit."""


@dataclass(frozen=True)
class Consistency:
    """The levels of a neuron at one hook, the lowest first."""

    levels: Sequence[Level]
    correlations: npt.NDArray[np.float64] | None = None
    """`[L, L]`, of the errors of the shares; None where levels were sampled independently."""

    @property
    def overall(self) -> Estimate:
        """Share that fits of all tokens with activation above 0: levels weighted by their exact counts.

        A level without samples widens the interval by all that it may hold.
        """
        return weighted_mean(
            [level.share for level in self.levels], [level.count for level in self.levels], self.correlations
        )

    @property
    def edges(self) -> npt.NDArray[np.float64]:
        """`[L + 1]`, limits of the levels; at least one level is needed."""
        return np.array([self.levels[0].low, *(level.high for level in self.levels)])

    def mean_share(self, low: float, high: float) -> Estimate:
        """Return the mean share of the levels with a midpoint in a part of the activations, equally weighted.

        Equal weights, since exact counts would leave nothing but the lowest of these levels: they fall by
        orders of magnitude from one to the next. Levels without samples are left out.

        Args:
            low: lower limit as a share of the maximum, 0 to 1, included.
            high: upper limit likewise, excluded.
        """
        top = self.levels[-1].high if self.levels else math.nan
        weights = [
            float(low * top <= (v.low + v.high) / 2 < high * top and v.n_sampled > 0) for v in self.levels
        ]
        return weighted_mean([level.share for level in self.levels], weights, self.correlations)


def context_from_example(example: Example, vocabulary: Vocabulary) -> Context:
    """Return the tokens that the cache keeps around an example's peak as a context."""
    data = [vocabulary.token_bytes[int(token)] for token in example.tokens]
    start = example.position - example.peak - example.context_start
    return Context(data, example.document.source, example.document.lang, start)


def mark_examples(predicate: Predicate, examples: Sequence[Example], vocabulary: Vocabulary) -> list[Marks]:
    """Mark the tokens of each example that fit."""
    return [predicate(context_from_example(example, vocabulary)) for example in examples]


def measure_consistency(
    predicate: Predicate, ranges: Sequence[RangeSample], vocabulary: Vocabulary
) -> Consistency:
    """Return the share of fitting peaks in every range above 0, from the cache's samples of each range.

    Args:
        predicate: a hypothesis, or any function that marks the tokens of a context.
        ranges: from `cache.reader.Neuron.ranges`.
        vocabulary: of the cache.
    """
    levels = []
    for sampled in ranges:
        if sampled.high > 0:
            marks = mark_examples(predicate, sampled.examples, vocabulary)
            n_fit = sum(bool(m[e.peak]) for m, e in zip(marks, sampled.examples, strict=True))
            n = len(sampled.examples)
            share = wilson(n_fit, n, sampled.count)
            levels.append(Level(max(sampled.low, 0.0), sampled.high, sampled.count, n_fit, n, share))
    return Consistency(levels)


def consistency_from_contexts(
    values: npt.NDArray[np.floating],
    marks: Marks,
    contexts: npt.NDArray[np.int64],
    ranges: Sequence[RangeSample],
) -> Consistency:
    """Return the same from whole contexts that were drawn without regard to activation.

    Intervals follow from how much the contexts differ. Where all or no tokens fit, the contexts do not
    differ, and the effective sample size is their number.

    Args:
        values: `[N]`, activations.
        marks: `[N]`, whether each token fits.
        contexts: `[N]`, number of each token's context, from 0.
        ranges: from `cache.reader.Neuron.ranges`: limits and exact counts of the levels.
    """
    above = [sampled for sampled in ranges if sampled.high > 0]
    if not above:
        return Consistency([])
    limits = np.array([sampled.high for sampled in above[:-1]])
    level = np.searchsorted(limits, values, side="right")
    n_contexts, is_above = int(contexts.max(initial=-1)) + 1, values > 0
    # Count tokens by context and level in one bincount over the flattened table [C, L].
    shape, cell = (n_contexts, len(above)), contexts * len(above) + level
    sampled_CL = np.bincount(cell[is_above], minlength=shape[0] * shape[1]).reshape(shape)
    fit_CL = np.bincount(cell[is_above & marks], minlength=shape[0] * shape[1]).reshape(shape)
    n_sampled, n_fit = sampled_CL.sum(axis=0), fit_CL.sum(axis=0)
    shares = n_fit / np.maximum(n_sampled, 1)
    # Linearized error of a ratio: what each context adds to the error of a level's share.
    errors_CL = (fit_CL - shares * sampled_CL) / np.maximum(n_sampled, 1)
    levels = []
    for k, sampled in enumerate(above):
        n_effective = _effective_size(errors_CL[:, k], sampled_CL[:, k], shares[k])
        share = wilson(shares[k] * n_effective, n_effective)
        low, n = max(sampled.low, 0.0), int(n_sampled[k])
        levels.append(Level(low, sampled.high, sampled.count, int(n_fit[k]), n, share))
    return Consistency(levels, _correlations(errors_CL))


def _effective_size(errors: npt.NDArray[np.float64], sampled: npt.NDArray[np.int64], share: float) -> float:
    """Return the number of independent tokens whose share would vary as much as this one.

    Korn and Graubard's size share · (1 - share) / variance, times (z / t)² for the few contexts that the
    variance is estimated from.

    Args:
        errors: `[C]`, contribution of each context to the share's error.
        sampled: `[C]`, tokens of the level in each context.
        share: of these tokens that fit.
    """
    n_contexts, n_tokens = int((sampled > 0).sum()), int(sampled.sum())
    if n_contexts < 2 or share in (0, 1):
        return n_contexts
    variance = float(errors @ errors) * n_contexts / (n_contexts - 1)
    size = share * (1 - share) / variance if variance else math.inf
    return max(1.0, min(size, n_tokens) * (Z_95 / student_t_95(n_contexts - 1)) ** 2)


def _correlations(errors_CL: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the correlations `[L, L]` of the levels' errors; 0 for a level whose share has no error."""
    size = np.linalg.norm(errors_CL, axis=0)
    unit = errors_CL / np.where(size > 0, size, 1)
    matrix = unit.T @ unit
    np.fill_diagonal(matrix, 1.0)
    return matrix
