"""Attention checks: cards with a known answer, made of random text and the shading of a real neuron.

For the answer “not interpretable” the windows are drawn from anywhere in the corpus. For “interpretable” each
window has the same word at the shading's peak.
"""

import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from cache.reader import NeuronCache
from dashboard.studies.plan.design import StudyError

Tokens = npt.NDArray[np.int32]

_WORD = re.compile(" [A-Za-z]{4,}")
_BACKGROUND = 2
"""The highest step of the other tokens in a check with one word."""


@dataclass(frozen=True, slots=True)
class Shading:
    """The shades of a real neuron's card, without its text."""

    steps: npt.NDArray[np.int64]
    """`[n_snippets, n_tokens]`."""
    peaks: Sequence[int]
    """`[n_snippets]` index of the token that each window was cut around."""
    by_rank: bool = False
    """True if the steps are ranks, so that every card has the same few."""


class Sample:
    """A cache's sample of whole contexts, which were drawn without regard to activations.

    Args:
        n_tokens: of each window to cut.
    """

    def __init__(self, cache: NeuronCache, n_tokens: int) -> None:
        self._vocabulary, self._n_tokens = cache.vocabulary, n_tokens
        rows = (np.asarray(row.values) for row in cache.sample()["tokens"])
        self._contexts: list[Tokens] = [row for row in rows if len(row) >= 2 * n_tokens - 1]

    def without_rule(self, shading: Shading, chance: random.Random) -> tuple[list[Tokens], Shading]:
        """Return windows from anywhere, and the shading as it is.

        Raises:
            StudyError: the sample has too few contexts.
        """
        windows = []
        for row in _some(self._contexts, shading, chance):
            start = chance.randrange(len(row) - self._n_tokens + 1)
            windows.append(row[start : start + self._n_tokens])
        return windows, shading

    def with_word(self, shading: Shading, chance: random.Random) -> tuple[list[Tokens], Shading]:
        """Return windows with one word at the shading's peaks, and shading in which it alone is strong.

        Raises:
            StudyError: no token occurs in enough of the sample's contexts.
        """
        often = [token for token, n in self._n_contexts.items() if n >= len(shading.peaks)]
        words = [token for token in often if _WORD.fullmatch(self._vocabulary.text(token))]
        token = chance.choice(words or often or [-1])
        with_token = [row for row in self._contexts if token in self._inside(row)]
        windows = []
        for row, peak in zip(_some(with_token, shading, chance), shading.peaks, strict=True):
            places: list[int] = np.flatnonzero(self._inside(row) == token).tolist()
            start = chance.choice(places) + self._n_tokens - 1 - peak
            windows.append(row[start : start + self._n_tokens])
        strongest = shading.steps.max(axis=1, keepdims=True)
        weak = shading.steps if shading.by_rank else np.minimum(shading.steps, _BACKGROUND)
        steps = np.where(np.stack(windows) == token, strongest, weak)
        return windows, Shading(steps, shading.peaks)

    @cached_property
    def _n_contexts(self) -> Counter[int]:
        """Return, by token, the number of contexts with the token far enough from their ends."""
        return Counter(t for row in self._contexts for t in np.unique(self._inside(row)).tolist())

    def _inside(self, row: Tokens) -> Tokens:
        # Around these tokens a window fits, whatever its peak.
        return row[self._n_tokens - 1 : len(row) - self._n_tokens + 1]


def _some(contexts: Sequence[Tokens], shading: Shading, chance: random.Random) -> list[Tokens]:
    """Draw a different context for each window of the shading."""
    n = len(shading.peaks)
    if len(contexts) < n:
        raise StudyError(
            f"expected {n} contexts to make attention checks of, found {len(contexts)} in the cache's "
            "sample of its text: ask for no checks, fewer snippets or a shorter window"
        )
    return chance.sample(contexts, n)
