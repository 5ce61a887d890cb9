"""What each token of the vocabulary does to each neuron: exact totals, and the highest means.

Totals are whole numbers of `2 ** -GRID_BITS`, so adding them is exact and order is nothing. The table has
a row for every token and a column for every neuron: its size does not depend on the corpus. Each total of 64
bits lies in two words: a token's low words beside each other, its high words after them. Adding a context
reads and writes the low ones, which is all that most totals need, and half the memory.
"""

import numpy as np
import numpy.typing as npt

GRID_BITS = 24
"""An activation is rounded to a multiple of 2^-24, the histogram's smallest step, before it is added."""
GRID_TOP = 65536.0
"""And taken as at most 2^16 in size, where the histogram ends."""


def empty(d_vocab: int, d_mlp: int) -> npt.NDArray[np.int32]:
    """Totals of nothing, `[V, 2, M]`."""
    words = np.empty((d_vocab, 2, d_mlp), dtype=np.int32)
    words.fill(0)  # unlike np.zeros, so that memory does not grow as the table fills
    return words


def whole(words: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    """Totals `[..., M]` of words `[..., 2, M]`: 2^32 high + low, both signed."""
    return (words[..., 1, :].astype(np.int64) << 32) + words[..., 0, :]


def add(words: npt.NDArray[np.int32], totals: npt.NDArray[np.int64]) -> None:
    """Add totals `[V, M]` to words `[V, 2, M]`."""
    both = whole(words) + totals
    low = both.astype(np.int32)
    words[:, 0], words[:, 1] = low, (both - low) >> 32


def means(totals: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Mean activation of each token, 0 for one that never came: totals `[V, M]` on the grid, counts `[V]`."""
    return np.asarray(totals / np.maximum(counts, 1)[:, None] * 2.0**-GRID_BITS)


def highest(values: npt.NDArray[np.float64], k: int, allowed: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """The k highest of each row, best first, the earlier index where two are equal: `[N, k]`, -1 for none.

    Args:
        values: `[N, C]`. allowed: `[C]` columns that may be chosen.
    """
    k = min(k, values.shape[1])
    masked = np.where(allowed, values, -np.inf)
    # argpartition breaks ties as it likes: take all that tie with the k-th, then sort.
    kth = np.partition(masked, -k, axis=1)[:, -k]
    result = np.full((len(values), k), -1, dtype=np.int64)
    for row, (line, least) in enumerate(zip(masked, kth, strict=True)):
        candidates = np.flatnonzero((line >= least) & allowed)
        best = candidates[np.lexsort((candidates, -line[candidates]))][:k]
        result[row, : len(best)] = best
    return result
