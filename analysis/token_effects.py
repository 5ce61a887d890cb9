"""Effects on the vocabulary put in order: the strongest, ranks, tokens by their text, bars. Pure.

An effect is a change of logits `[V]` of which the mean over the vocabulary is nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from analysis.formatting import visible
from analysis.histogram_bars import Bars
from cache.format.vocabulary import Vocabulary

Effects = npt.NDArray[np.floating]

N_BARS = 72
"""Bars of a histogram over the vocabulary."""


@dataclass(frozen=True, slots=True)
class TokenEffect:
    """What is done to one token."""

    token: int
    text: str
    """With its blanks marked."""
    effect: float
    rank: int
    """1 is the most promoted of the vocabulary; ties share the better rank."""


def effects_of_tokens(effects: Effects, tokens: Sequence[int], vocabulary: Vocabulary) -> list[TokenEffect]:
    """The tokens given, in the order given, with their ranks."""
    return [
        TokenEffect(t, visible(vocabulary.text(t)), float(effects[t]), 1 + int((effects > effects[t]).sum()))
        for t in tokens
    ]


def most_promoted(effects: Effects, n: int, vocabulary: Vocabulary) -> list[TokenEffect]:
    """The `n` tokens of the highest effect, the highest first."""
    return effects_of_tokens(effects, np.argsort(-effects, kind="stable")[:n].tolist(), vocabulary)


def most_suppressed(effects: Effects, n: int, vocabulary: Vocabulary) -> list[TokenEffect]:
    """The `n` tokens of the lowest effect, the lowest first."""
    return effects_of_tokens(effects, np.argsort(effects, kind="stable")[:n].tolist(), vocabulary)


def percentile_rank(effects: Effects, token: int) -> float:
    """The share of the other tokens that are below this one, ties counted half; from 0 to 1."""
    below = int((effects < effects[token]).sum())
    ties = int((effects == effects[token]).sum()) - 1
    return (below + ties / 2) / max(len(effects) - 1, 1)


def find_tokens(vocabulary: Vocabulary, text: str, n: int = 8) -> list[int]:
    """Tokens by their text: those that are it, then those that begin with it, then those that contain it.

    Within each, the shortest first. A blank at the beginning, typed or as its mark, counts; without one
    the token after a blank is as good. Case counts only where a capital is given.

    Args:
        text: what a person typed.
        n: at most so many.
    """
    wanted = visible(text)
    if not wanted:
        return []
    sensitive = any(c.isupper() for c in wanted)
    found = []
    for token, shown in enumerate(_shown(vocabulary)):
        compared = shown if sensitive else shown.lower()
        bare = compared if wanted.startswith("·") else compared.removeprefix("·")
        if wanted not in compared:
            continue
        kind = 0 if bare == wanted else 1 if bare.startswith(wanted) else 2
        found.append((kind, len(shown), token))
    return [token for _, _, token in sorted(found)[:n]]


@lru_cache(4)
def _shown(vocabulary: Vocabulary) -> list[str]:
    return [visible(vocabulary.text(token)) for token in range(len(vocabulary))]


def effect_bars(effects: Effects, n_bars: int = N_BARS) -> Bars:
    """How many tokens have which effect, in bars of even width from the lowest to the highest."""
    counts, edges = np.histogram(effects.astype(np.float64), bins=n_bars)
    return Bars(edges, counts.astype(np.int64))


def tokens_in_bar(effects: Effects, bars: Bars, value: float) -> list[int]:
    """The tokens of the bar that holds a value, the strongest effect first."""
    bar = int(np.clip(np.searchsorted(bars.edges, value, side="right") - 1, 0, len(bars.counts) - 1))
    last = bar + 1 == len(bars.counts)  # alone includes its upper edge
    above = effects <= bars.edges[-1] if last else effects < bars.edges[bar + 1]
    tokens = np.flatnonzero((effects >= bars.edges[bar]) & above)
    return [int(t) for t in tokens[np.argsort(-np.abs(effects[tokens]), kind="stable")]]


def correlation(a: Effects, b: Effects) -> float:
    """Pearson's, over the vocabulary; NaN where one of them is the same for every token."""
    x, y = (v.astype(np.float64) - v.mean(dtype=np.float64) for v in (a, b))
    size = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / size if size > 0 else float("nan")
