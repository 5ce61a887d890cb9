"""Total activation of each neuron on each token of the vocabulary, exact, and the highest means.

Totals are whole multiples of `2 ** -GRID_BITS`, so adding them is exact and the order does not matter. The
table has a row for every token and a column for every neuron: its size does not depend on the corpus. A
total of 64 bits is stored in two words: first the low words of all neurons of a token, then their high
words. Adding a context mostly touches the low words alone, which is half the memory.
"""

import numpy as np
import numpy.typing as npt

GRID_BITS = 24
"""An activation is rounded to a multiple of 2^-24, the histogram's smallest step, before it is added."""
GRID_TOP = 65536.0
"""Activations are clipped to +-2^16, where the histogram ends, before they are added."""


def empty(d_vocab: int, d_mlp: int) -> npt.NDArray[np.int32]:
    """Return totals of no tokens, `[V, 2, M]`."""
    words = np.empty((d_vocab, 2, d_mlp), dtype=np.int32)
    words.fill(0)  # np.zeros would take memory only as the table fills, and might fail hours later
    return words


def whole(words: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    """Return the totals `[..., M]` of words `[..., 2, M]`: 2^32 high + low, both signed."""
    return (words[..., 1, :].astype(np.int64) << 32) + words[..., 0, :]


def add(words: npt.NDArray[np.int32], totals: npt.NDArray[np.int64]) -> None:
    """Add totals `[V, M]` to words `[V, 2, M]`."""
    both = whole(words) + totals
    low = both.astype(np.int32)  # the low 32 bits, signed: `both - low` is a multiple of 2^32
    words[:, 0], words[:, 1] = low, (both - low) >> 32


def means(totals: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return mean activations `[V, M]`, 0 for a token that never occurred.

    Args:
        totals: `[V, M]` multiples of `2 ** -GRID_BITS`.
        counts: `[V]` occurrences of each token.
    """
    return np.asarray(totals / np.maximum(counts, 1)[:, None] * 2.0**-GRID_BITS)


def highest(values: npt.NDArray[np.float64], k: int, allowed: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Return the columns of the k highest values of each row: `[N, k]`, highest first, -1 for none.

    Of equal values the one of the lower column comes first.

    Args:
        values: `[N, C]`.
        k: number of columns, at most C of which are returned.
        allowed: `[C]` True for columns that may be chosen.
    """
    k = min(k, values.shape[1])
    masked = np.where(allowed, values, -np.inf)
    # argpartition breaks ties arbitrarily: take all values that tie with the k-th, then sort.
    kth = np.partition(masked, -k, axis=1)[:, -k]
    result = np.full((len(values), k), -1, dtype=np.int64)
    for row, (line, least) in enumerate(zip(masked, kth, strict=True)):
        candidates = np.flatnonzero((line >= least) & allowed)
        best = candidates[np.lexsort((candidates, -line[candidates]))][:k]
        result[row, : len(best)] = best
    return result
