"""Lists of the K best examples by some score: strongest and weakest examples, and samples.

Every example has a score, of which the lowest is best, and a key, of which a list holds one. For strongest
examples the score is an unsigned integer that falls as the activation rises, and the key is a hash of the
text around the peak; for samples the score is the token's priority and the key is the token's name. Ties
go to the lower document name, then to the earlier token. So the order is total: a list depends on the set
of examples offered and on nothing else, and `merge` is associative and commutative.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_LISTS_AT_ONCE = 16384
"""Lists merged together: the temporary arrays stay small beside both inputs and the result."""

NO_LIMIT = np.uint64(0xFFFFFFFFFFFFFFFF)
"""Worst score that can still enter a list with a free slot."""


class Window(NamedTuple):
    """Numbers of tokens kept before and after an example's peak."""

    before: int
    after: int

    @property
    def width(self) -> int:
        """Most tokens of a window, the peak included."""
        return self.before + 1 + self.after


WINDOW = Window(95, 32)
"""Default window of strongest examples: a paragraph or two."""
SAMPLE_WINDOW = Window(47, 16)
"""Default window of weakest and sampled examples, of which there are many."""


class ExampleLists(NamedTuple):
    """N lists of K slots, in no order; a slot whose `length` is 0 is free. H hooks, W window.

    The compiled loops take this class: see `accumulator.PreparedContext` before you rename it.
    """

    score: Array
    """`[N, K]` uint64, low is better."""
    key: Array
    """`[N, K]` uint64, distinct within a list."""
    document: Array
    """`[N, K]` int64, name of the document."""
    position: Array
    """`[N, K]` int64, index of the peak's token in its document."""
    start: Array
    """`[N, K]` int64, index in the document of the context's first token after the BOS."""
    peak: Array
    """`[N, K]` int16, index of the peak in the window."""
    length: Array
    """`[N, K]` int16, tokens in the window; fewer than W at either end of a context."""
    tokens: Array
    """`[N, K, W]` uint16 or uint32, tokens around the peak, within its context and without the BOS."""
    value: Array
    """`[N, K, H]` float32, activation at the peak, at each hook."""
    low: Array
    """`[N, K, H]` float32, lowest finite activation in the window."""
    high: Array
    """`[N, K, H]` float32, highest finite activation in the window."""
    levels: Array
    """`[N, K, H, W]` uint8, activations in the window: low + level / 255 * (high - low)."""

    @property
    def k(self) -> int:
        """Slots of each list."""
        return int(self.score.shape[1])


def empty(n_lists: int, k: int, window: Window, n_hooks: int, d_vocab: int) -> ExampleLists:
    """Return lists with free slots alone. All their memory is written, so that it does not grow later."""
    n = (n_lists, k)
    token = np.uint16 if d_vocab <= 2**16 else np.uint32
    lists = ExampleLists(
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
    for array in lists:
        array.fill(0)
    return lists


def canonical(lists: ExampleLists, k: int) -> ExampleLists:
    """Return the lists sorted, best first, and cut to k; free slots are last and all zero.

    Equal contents then have equal bytes.
    """
    order = np.lexsort((lists.position, lists.document, lists.score, lists.length == 0), axis=1)[:, :k]
    ordered = ExampleLists(*(_take(a, order) for a in lists))
    free = ordered.length == 0  # their other fields are leftovers
    for array in ordered:
        array[free] = 0
    inside = np.arange(ordered.tokens.shape[2]) < ordered.length[:, :, None]
    ordered.tokens[~inside] = 0
    ordered.levels[np.broadcast_to(~inside[:, :, None, :], ordered.levels.shape)] = 0
    return ordered


def merge(a: ExampleLists, b: ExampleLists) -> ExampleLists:
    """Return for each list the K best examples of both, one of each key."""
    starts = range(0, max(len(a.score), 1), _LISTS_AT_ONCE)
    parts = [
        _merge(select_lists(a, slice(i, i + _LISTS_AT_ONCE)), select_lists(b, slice(i, i + _LISTS_AT_ONCE)))
        for i in starts
    ]
    return ExampleLists(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def _merge(a: ExampleLists, b: ExampleLists) -> ExampleLists:
    both = ExampleLists(*(np.concatenate([x, y], axis=1) for x, y in zip(a, b, strict=True)))
    ordered = canonical(both, both.k)
    # Of equal keys the first, which is the best, stays.
    same = (ordered.key[:, :, None] == ordered.key[:, None, :]) & (ordered.length[:, None, :] > 0)
    repeats = np.tril(same, -1).any(axis=2)
    ordered.length[repeats] = 0
    return canonical(ordered, a.k)


def select_lists(lists: ExampleLists, indices: npt.NDArray[np.integer] | slice) -> ExampleLists:
    """Return some of the lists."""
    return ExampleLists(*(a[indices] for a in lists))


def _take(array: Array, order: npt.NDArray[np.int64]) -> Array:
    return array[np.arange(len(order))[:, None], order]
