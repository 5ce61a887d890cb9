"""Effects of a neuron on the logits of the vocabulary: strongest tokens, ranks, search by text, histogram.

Effects are an array `[V]` of changes of logits, in nats. Their mean over the vocabulary is 0, since adding
the same number to every logit changes no probability.
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
"""Number of bars of a histogram over the vocabulary."""


@dataclass(frozen=True, slots=True)
class TokenEffect:
    """Effect on one token."""

    token: int
    text: str
    """Its text with visible marks for blanks."""
    effect: float
    rank: int
    """1 for the most promoted token of the vocabulary; tokens with equal effects share the better rank."""


def effects_of_tokens(effects: Effects, tokens: Sequence[int], vocabulary: Vocabulary) -> list[TokenEffect]:
    """Return the effect and the rank of each token, in the order of `tokens`."""
    return [
        TokenEffect(t, visible(vocabulary.text(t)), float(effects[t]), 1 + int((effects > effects[t]).sum()))
        for t in tokens
    ]


def most_promoted(effects: Effects, n: int, vocabulary: Vocabulary) -> list[TokenEffect]:
    """Return the `n` tokens with the highest effect, the highest first."""
    return effects_of_tokens(effects, np.argsort(-effects, kind="stable")[:n].tolist(), vocabulary)


def most_suppressed(effects: Effects, n: int, vocabulary: Vocabulary) -> list[TokenEffect]:
    """Return the `n` tokens with the lowest effect, the lowest first."""
    return effects_of_tokens(effects, np.argsort(effects, kind="stable")[:n].tolist(), vocabulary)


def percentile_rank(effects: Effects, token: int) -> float:
    """Return the share of the other tokens with a lower effect, 0 to 1; equal ones count half."""
    below = int((effects < effects[token]).sum())
    ties = int((effects == effects[token]).sum()) - 1
    return (below + ties / 2) / max(len(effects) - 1, 1)


def find_tokens(vocabulary: Vocabulary, text: str, n: int = 8) -> list[int]:
    """Find tokens by text: equal to it, then beginning with it, then containing it; the shortest first.

    A leading blank in `text`, typed or as its visible mark, must match; without one, a token's leading blank
    is ignored. Case matters only if `text` has a capital letter.

    Args:
        text: as typed.
        n: largest number of results.
    """
    wanted = visible(text)
    if not wanted:
        return []
    sensitive = any(c.isupper() for c in wanted)
    matches = []
    for token, text_of_token in enumerate(_visible_texts(vocabulary)):
        compared = text_of_token if sensitive else text_of_token.lower()
        bare = compared if wanted.startswith("·") else compared.removeprefix("·")
        if wanted not in compared:
            continue
        kind = 0 if bare == wanted else 1 if bare.startswith(wanted) else 2
        matches.append((kind, len(text_of_token), token))
    return [token for _, _, token in sorted(matches)[:n]]


@lru_cache(4)  # one vocabulary for each model in use; a search runs at every key typed
def _visible_texts(vocabulary: Vocabulary) -> list[str]:
    return [visible(vocabulary.text(token)) for token in range(len(vocabulary))]


def effect_bars(effects: Effects, n_bars: int = N_BARS) -> Bars:
    """Count tokens by effect, in bars of equal width from the lowest to the highest effect."""
    counts, edges = np.histogram(effects.astype(np.float64), bins=n_bars)
    return Bars(edges, counts.astype(np.int64))


def tokens_in_bar(effects: Effects, bars: Bars, value: float) -> list[int]:
    """Return the tokens of the bar that contains a value, the strongest effect first."""
    bar = int(np.clip(np.searchsorted(bars.edges, value, side="right") - 1, 0, len(bars.counts) - 1))
    last = bar + 1 == len(bars.counts)  # as in numpy.histogram, only the last bar includes its upper edge
    above = effects <= bars.edges[-1] if last else effects < bars.edges[bar + 1]
    tokens = np.flatnonzero((effects >= bars.edges[bar]) & above)
    return [int(t) for t in tokens[np.argsort(-np.abs(effects[tokens]), kind="stable")]]


def correlation(a: Effects, b: Effects) -> float:
    """Return Pearson's correlation over the vocabulary; NaN if either is constant."""
    x, y = (v.astype(np.float64) - v.mean(dtype=np.float64) for v in (a, b))
    size = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / size if size > 0 else float("nan")
