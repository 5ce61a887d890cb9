"""Lists of the K best examples, whatever best means: the one structure behind top, bottom and samples.

Every example has a score, low is better, and a key, of which a list holds one. For the strongest examples
the score is the activation turned into an unsigned integer that falls as it rises, and the key is the
text around the peak; for a sample the score is the token's priority and the key the token. Ties go to the
earlier document by name, then the earlier token, so the order is total: a list depends on the set of
examples offered and on nothing else, and `merge` is associative and commutative.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_AT_ONCE = 16384  # lists merged at once: what it takes beside both parts and the result stays small

NO_LIMIT = np.uint64(0xFFFFFFFFFFFFFFFF)


class Window(NamedTuple):
    """Tokens kept around an example's peak."""

    before: int
    after: int

    @property
    def width(self) -> int:
        """Tokens at most, the peak included."""
        return self.before + 1 + self.after


WINDOW = Window(95, 32)
"""A few paragraphs around a strongest example's peak."""
SAMPLE_WINDOW = Window(47, 16)
"""Around weakest and sampled examples, of which there are many."""


class Kept(NamedTuple):
    """N lists of K slots, in no order; a slot whose `length` is 0 is free. H hooks, W window."""

    score: Array
    """`[N, K]` uint64, low is better."""
    key: Array
    """`[N, K]` uint64, distinct within a list."""
    document: Array
    """`[N, K]` int64, as the next two."""
    position: Array
    """Index of the peak's token in its document."""
    start: Array
    """Index in the document of the context's first token after the BOS."""
    peak: Array
    """`[N, K]` int16, index of the peak in the window."""
    length: Array
    """`[N, K]` int16, tokens of the window that are there."""
    tokens: Array
    """`[N, K, W]` uint16 or uint32, tokens around the peak, within its context and without the BOS."""
    value: Array
    """`[N, K, H]` float32, activation at the peak, at each hook."""
    low: Array
    high: Array
    """`[N, K, H]` float32, lowest and highest activation in the window."""
    levels: Array
    """`[N, K, H, W]` uint8, activations in the window: low + level / 255 * (high - low)."""

    @property
    def k(self) -> int:
        """Slots a list."""
        return int(self.score.shape[1])


def empty(n_lists: int, k: int, window: Window, n_hooks: int, d_vocab: int) -> Kept:
    """Lists with nothing in them. Every page of memory is touched, so that it does not grow later."""
    n = (n_lists, k)
    token = np.uint16 if d_vocab <= 2**16 else np.uint32
    kept = Kept(
        score=np.empty(n, np.uint64),
        key=np.empty(n, np.uint64),
        document=np.empty(n, np.int64),
        position=np.empty(n, np.int64),
        start=np.empty(n, np.int64),
        peak=np.empty(n, np.int16),
        length=np.empty(n, np.int16),
        tokens=np.empty((*n, window.width), token),
        value=np.empty((*n, n_hooks), np.float32),
        low=np.empty((*n, n_hooks), np.float32),
        high=np.empty((*n, n_hooks), np.float32),
        levels=np.empty((*n, n_hooks, window.width), np.uint8),
    )
    for array in kept:
        array.fill(0)
    return kept


def canonical(kept: Kept, k: int) -> Kept:
    """Each list best first, free slots last and all zero, cut to k: equal contents are equal bytes."""
    order = np.lexsort((kept.position, kept.document, kept.score, kept.length == 0), axis=1)[:, :k]
    ordered = Kept(*(_take(a, order) for a in kept))
    free = ordered.length == 0
    for array in ordered:
        array[free] = 0
    inside = np.arange(ordered.tokens.shape[2]) < ordered.length[:, :, None]
    ordered.tokens[~inside] = 0
    ordered.levels[np.broadcast_to(~inside[:, :, None, :], ordered.levels.shape)] = 0
    return ordered


def merge(a: Kept, b: Kept) -> Kept:
    """The K best of both, one of each key."""
    starts = range(0, max(len(a.score), 1), _AT_ONCE)
    parts = [
        _merge(take_lists(a, slice(i, i + _AT_ONCE)), take_lists(b, slice(i, i + _AT_ONCE))) for i in starts
    ]
    return Kept(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def _merge(a: Kept, b: Kept) -> Kept:
    both = Kept(*(np.concatenate([x, y], axis=1) for x, y in zip(a, b, strict=True)))
    ordered = canonical(both, both.k)
    same = (ordered.key[:, :, None] == ordered.key[:, None, :]) & (ordered.length[:, None, :] > 0)
    repeats = np.tril(same, -1).any(axis=2)
    ordered.length[repeats] = 0
    return canonical(ordered, a.k)


def take_lists(kept: Kept, lists: npt.NDArray[np.integer] | slice) -> Kept:
    """Some of the lists."""
    return Kept(*(a[lists] for a in kept))


def _take(array: Array, order: npt.NDArray[np.int64]) -> Array:
    return array[np.arange(len(order))[:, None], order]
