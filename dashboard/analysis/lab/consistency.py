"""Given that a neuron fires, is it what a hypothesis says? Shares by interval of activation. Pure.

Samples of an interval are uniform, so the share of those that fit estimates the share of all its tokens.
Intervals are Wilson's (1927); for weighted sums of shares they are joined by MOVER (Zou, Huang and Zhang,
Computational Statistics & Data Analysis 53, 2009).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cache.reader import Example, RangeSample
from cache.vocabulary import Vocabulary
from dashboard.analysis.lab.hypothesis import Context, Marks, Predicate

Z = 1.959964
"""Of a 95% interval."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A share with its 95% interval; NaN where nothing was looked at."""

    value: float
    low: float
    high: float


NOTHING = Estimate(math.nan, math.nan, math.nan)


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

    @property
    def whole(self) -> Estimate:
        """Of all tokens on which the neuron is above 0, those that fit; levels weighted by exact counts.

        Levels where nothing was looked at may hold anything.
        """
        return weighted([level.share for level in self.levels], [level.count for level in self.levels])

    def between(self, low: float, high: float) -> Estimate:
        """The mean share over the levels whose middles lie between parts of the maximum, each counted alike.

        Args:
            low: part of the maximum, 0 to 1. high: likewise.
        """
        top = self.levels[-1].high if self.levels else math.nan
        chosen = [v.share for v in self.levels if low * top <= (v.low + v.high) / 2 < high * top and v.n_seen]
        return weighted(chosen, [1] * len(chosen))


def wilson(n_fit: int, n_seen: int) -> Estimate:
    """A share with Wilson's interval."""
    if not n_seen:
        return NOTHING
    share, z2 = n_fit / n_seen, Z**2 / n_seen
    middle = (share + z2 / 2) / (1 + z2)
    half = Z * math.sqrt(share * (1 - share) / n_seen + z2 / n_seen / 4) / (1 + z2)
    return Estimate(share, max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half)))


def weighted(shares: Sequence[Estimate], weights: Sequence[float]) -> Estimate:
    """A weighted mean of shares, with its interval by MOVER."""
    total = float(sum(weights))
    if not total:
        return NOTHING
    value = below = above = 0.0
    for part, weight in zip(shares, weights, strict=True):
        known = part if not math.isnan(part.value) else Estimate(0.5, 0.0, 1.0)
        w = weight / total
        value += w * known.value
        below += (w * (known.value - known.low)) ** 2
        above += (w * (known.high - known.value)) ** 2
    return Estimate(value, max(0.0, value - math.sqrt(below)), min(1.0, value + math.sqrt(above)))


def difference(a: Estimate, b: Estimate) -> Estimate:
    """A share less another one, independent of it, with its interval by MOVER: between -1 and 1."""
    below = math.hypot(a.value - a.low, b.high - b.value)
    above = math.hypot(a.high - a.value, b.value - b.low)
    value = a.value - b.value
    return Estimate(value, max(-1.0, value - below), min(1.0, value + above))


def context_of(example: Example, vocabulary: Vocabulary) -> Context:
    """What a hypothesis sees of an example: the tokens that are kept around its peak, not those beyond."""
    data = [vocabulary.token_bytes[int(token)] for token in example.tokens]
    start = example.position - example.peak - example.context_start
    return Context(data, example.document.source, example.document.lang, start)


def marks_of(predicate: Predicate, examples: Sequence[Example], vocabulary: Vocabulary) -> list[Marks]:
    """Which tokens of each example fit."""
    return [predicate(context_of(example, vocabulary)) for example in examples]


def consistency(predicate: Predicate, ranges: Sequence[RangeSample], vocabulary: Vocabulary) -> Consistency:
    """Hold a neuron's samples of every range above 0 against a hypothesis.

    Args:
        ranges: of `cache.reader.Neuron.ranges`.
    """
    levels = []
    for sampled in ranges:
        if sampled.high > 0:
            marks = marks_of(predicate, sampled.examples, vocabulary)
            fits = sum(bool(m[e.peak]) for m, e in zip(marks, sampled.examples, strict=True))
            n_seen = len(sampled.examples)
            share = wilson(fits, n_seen)
            levels.append(Level(max(sampled.low, 0.0), sampled.high, sampled.count, fits, n_seen, share))
    return Consistency(levels)


def sampled_consistency(
    values: npt.NDArray[np.floating],
    marks: Marks,
    contexts: npt.NDArray[np.int64],
    ranges: Sequence[RangeSample],
    draws: int = 1000,
    seed: int = 0,
) -> Consistency:
    """The same from whole contexts that activation had no part in choosing.

    Intervals come from drawing contexts anew, with replacement, since tokens of one text are alike; where
    all or none fit they are Wilson's, with as many samples as there are contexts.

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
    weights = np.random.default_rng(seed).multinomial(
        n_contexts, np.full(n_contexts, 1 / n_contexts), size=draws
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        drawn = (weights @ fits) / (weights @ seen)
    found = []
    for k, sampled in enumerate(above):
        n_fit, n_seen = int(fits[:, k].sum()), int(seen[:, k].sum())
        if 0 < n_fit < n_seen:
            low, high = np.nanquantile(drawn[:, k], [0.025, 0.975])
            share = Estimate(n_fit / n_seen, float(low), float(high))
        else:
            texts = int((seen[:, k] > 0).sum())
            share = wilson(texts if n_fit else 0, texts)
        found.append(Level(max(sampled.low, 0.0), sampled.high, sampled.count, n_fit, n_seen, share))
    return Consistency(found)


def edges_of(found: Consistency) -> npt.NDArray[np.float64]:
    """`[levels + 1]` where the levels begin and end."""
    return np.array([found.levels[0].low, *(level.high for level in found.levels)])
