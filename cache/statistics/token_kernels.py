"""Compiled: a context's activations into the totals of its tokens. Definition: `by_token`."""

import numpy as np

from cache.statistics.by_token import GRID_BITS, GRID_TOP
from cache.statistics.jit import compiled

_GRID = 2.0**GRID_BITS
_GRID_32 = np.float32(_GRID)
_ROUND = 1.5 * 2.0**52
_SMALL = np.float32(2.0 ** (31 - GRID_BITS))


@compiled
def add_by_token(values, order, tokens, extremes, finite, totals):  # type: ignore[no-untyped-def]
    """Add a context's activations to the totals of their tokens, on a fixed grid so that order is nothing.

    Args:
        values: `[T, M]` float32, C-contiguous.
        order: positions past the BOS, those of one token beside each other.
        tokens: `[T]`.
        extremes, finite: as `kernels.scan` left and returned them.
        totals: `[V, M]` int64 in units of `2 ** -GRID_BITS`, added to. Values are taken as at most
            `GRID_TOP` in size, NaN as 0.
    """
    # On the grid most values fit 32 bits, which is half the arithmetic.
    small = finite and extremes[0].min() > -_SMALL and extremes[1].max() < _SMALL
    row = np.empty(values.shape[1], np.int64)
    i = 0
    while i < len(order):
        token = tokens[order[i]]
        row[:] = 0
        while i < len(order) and tokens[order[i]] == token:
            found = values[order[i]]
            if small:
                for j in range(len(row)):
                    row[j] += np.int64(np.int32(np.rint(found[j] * _GRID_32)))
            else:
                for j in range(len(row)):
                    x = found[j] if found[j] == found[j] else np.float32(0.0)
                    x = min(max(x, np.float32(-GRID_TOP)), np.float32(GRID_TOP))
                    # Adding and taking away 1.5 * 2^52 rounds to a whole number, to even as rint does.
                    row[j] += np.int64((np.float64(x) * _GRID + _ROUND) - _ROUND)
            i += 1
        total = totals[token]
        for j in range(len(row)):
            total[j] += row[j]
