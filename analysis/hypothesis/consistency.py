"""Given that a neuron fires, is it what a hypothesis says? Shares by interval of activation. Pure.

Samples of an interval are uniform, so the share of those that fit estimates the share of all its tokens.
Tokens of one text are alike: where texts and not tokens were drawn, the interval is Wilson's with as many
samples as would vary as much (Korn and Graubard, Survey Methodology 24, 1998).
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
    """An interval of activation: how many tokens lie in it, and how many of those looked at fit."""

    low: float
    high: float
    count: int
    """Tokens of the corpus in it, exact."""
    n_fit: int
    n_seen: int
    share: Estimate
    """Of all its tokens, those that fit."""


@dataclass(frozen=True)
class Consistency:
    """A neuron's levels above 0 at one hook, the lowest first."""

    levels: Sequence[Level]
    correlations: npt.NDArray[np.float64] | None = None
    """`[levels, levels]` of the errors of their shares; None where levels were sampled independently."""

    @property
    def whole(self) -> Estimate:
        """Of all tokens on which the neuron is above 0, those that fit; levels weighted by exact counts.

        Levels where nothing was looked at may hold anything.
        """
        return weighted_mean(
            [level.share for level in self.levels], [level.count for level in self.levels], self.correlations
        )

    def between(self, low: float, high: float) -> Estimate:
        """The mean share over the levels whose middles lie between parts of the maximum, each counted alike.

        Args:
            low: part of the maximum, 0 to 1. high: likewise.
        """
        top = self.levels[-1].high if self.levels else math.nan
        weights = [
            float(low * top <= (v.low + v.high) / 2 < high * top and v.n_seen > 0) for v in self.levels
        ]
        return weighted_mean([level.share for level in self.levels], weights, self.correlations)


def context_from_example(example: Example, vocabulary: Vocabulary) -> Context:
    """What a hypothesis sees of an example: the tokens that are kept around its peak, not those beyond."""
    data = [vocabulary.token_bytes[int(token)] for token in example.tokens]
    start = example.position - example.peak - example.context_start
    return Context(data, example.document.source, example.document.lang, start)


def mark_examples(predicate: Predicate, examples: Sequence[Example], vocabulary: Vocabulary) -> list[Marks]:
    """Which tokens of each example fit."""
    return [predicate(context_from_example(example, vocabulary)) for example in examples]


def consistency(predicate: Predicate, ranges: Sequence[RangeSample], vocabulary: Vocabulary) -> Consistency:
    """Hold a neuron's samples of every range above 0 against a hypothesis.

    Args:
        ranges: of `cache.reader.Neuron.ranges`.
    """
    levels = []
    for sampled in ranges:
        if sampled.high > 0:
            marks = mark_examples(predicate, sampled.examples, vocabulary)
            fits = sum(bool(m[e.peak]) for m, e in zip(marks, sampled.examples, strict=True))
            n_seen = len(sampled.examples)
            share = wilson(fits, n_seen, sampled.count)
            levels.append(Level(max(sampled.low, 0.0), sampled.high, sampled.count, fits, n_seen, share))
    return Consistency(levels)


def consistency_from_contexts(
    values: npt.NDArray[np.floating],
    marks: Marks,
    contexts: npt.NDArray[np.int64],
    ranges: Sequence[RangeSample],
) -> Consistency:
    """The same from whole contexts that activation had no part in choosing.

    Intervals follow from how much contexts differ, since tokens of one text are alike. Where all or none
    fit they are Wilson's, with as many samples as there are contexts.

    Args:
        values: `[N]` activations. marks: `[N]` whether each token fits.
        contexts: `[N]` which context each token is of, from 0.
        ranges: of `cache.reader.Neuron.ranges`: where the levels begin and end, and their exact counts.
    """
    above = [sampled for sampled in ranges if sampled.high > 0]
    if not above:
        return Consistency([])
    edges = np.array([sampled.high for sampled in above[:-1]])
    level = np.searchsorted(edges, values, side="right")
    n_contexts, fires = int(contexts.max(initial=-1)) + 1, values > 0
    shape, cell = (n_contexts, len(above)), contexts * len(above) + level
    seen = np.bincount(cell[fires], minlength=shape[0] * shape[1]).reshape(shape)
    fits = np.bincount(cell[fires & marks], minlength=shape[0] * shape[1]).reshape(shape)
    n_seen, n_fit = seen.sum(axis=0), fits.sum(axis=0)
    part = n_fit / np.maximum(n_seen, 1)
    errors = (fits - part * seen) / np.maximum(n_seen, 1)
    found = []
    for k, sampled in enumerate(above):
        n_alike = _samples_worth(errors[:, k], seen[:, k], part[k])
        share = wilson(part[k] * n_alike, n_alike)
        found.append(
            Level(max(sampled.low, 0.0), sampled.high, sampled.count, int(n_fit[k]), int(n_seen[k]), share)
        )
    return Consistency(found, _correlations(errors))


def _samples_worth(errors: npt.NDArray[np.float64], seen: npt.NDArray[np.int64], share: float) -> float:
    """How many tokens drawn one by one would tell as much of a share as the contexts do.

    Args:
        errors: `[C]` what each context adds to the share's error. seen: `[C]` tokens looked at in each.
    """
    n_contexts, n_tokens = int((seen > 0).sum()), int(seen.sum())
    if n_contexts < 2 or share in (0, 1):
        return n_contexts
    variance = float(errors @ errors) * n_contexts / (n_contexts - 1)
    worth = share * (1 - share) / variance if variance else math.inf
    return max(1.0, min(worth, n_tokens) * (Z_95 / student_t_95(n_contexts - 1)) ** 2)


def _correlations(errors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """`[levels, levels]` from `[C, levels]`; 0 beside a level whose share has no error."""
    size = np.linalg.norm(errors, axis=0)
    unit = errors / np.where(size > 0, size, 1)
    found = unit.T @ unit
    np.fill_diagonal(found, 1.0)
    return found


def edges_of(found: Consistency) -> npt.NDArray[np.float64]:
    """`[levels + 1]` where the levels begin and end."""
    return np.array([found.levels[0].low, *(level.high for level in found.levels)])
