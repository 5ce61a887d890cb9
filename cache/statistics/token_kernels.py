"""Compiled loops that add a context's activations to the totals of its tokens. Definition: `token_totals`."""

import numpy as np

from cache.statistics.jit import compiled, inlined, prefetch_row
from cache.statistics.token_totals import GRID_BITS, GRID_TOP

_GRID = 2.0**GRID_BITS
_GRID_32 = np.float32(_GRID)
_ROUND = 1.5 * 2.0**52
_SMALL = np.float32(2.0 ** (31 - GRID_BITS))
"""Activations below it in size fit 32 bits on the grid, which halves the arithmetic; most do."""
_PART = 128
"""Neurons whose high words are skipped together when none of them changes."""
_WORD = 4  # bytes


@compiled
def add_by_token(values, order, tokens, extremes, finite, totals):  # type: ignore[no-untyped-def]
    """Add a context's activations to the totals of their tokens, rounded to the grid.

    Args:
        values: `[T, M]` float32, C-contiguous.
        order: positions after the BOS, with those of one token next to each other.
        tokens: `[T]`.
        extremes: `[2, M]`, lowest and highest values, from `scan_kernels`.
        finite: True if all values are finite.
        totals: `[V, 2, M]` int32, words in units of `2 ** -GRID_BITS`, added to. Values are clipped to
            +-`GRID_TOP`, NaN counts as 0.
    """
    small = finite and extremes[0].min() > -_SMALL and extremes[1].max() < _SMALL
    d_mlp = values.shape[1]
    row, n_bytes = np.empty(d_mlp, np.int64), d_mlp * _WORD
    i = 0
    while i < len(order):
        token = tokens[order[i]]
        prefetch_row(totals.ctypes.data + token * 2 * n_bytes, n_bytes)
        alone = i + 1 == len(order) or tokens[order[i + 1]] != token
        if small and alone:
            if i + 1 < len(order):
                prefetch_row(values.ctypes.data + order[i + 1] * n_bytes, n_bytes)
            _add_one(values[order[i]], totals[token, 0], totals[token, 1])
            i += 1
            continue
        row[:] = 0
        while i < len(order) and tokens[order[i]] == token:
            acts = values[order[i]]
            if i + 1 < len(order):
                prefetch_row(values.ctypes.data + order[i + 1] * n_bytes, n_bytes)
            if small:
                for j in range(len(row)):
                    row[j] += np.int64(np.int32(np.rint(acts[j] * _GRID_32)))
            else:
                for j in range(len(row)):
                    x = acts[j] if acts[j] == acts[j] else np.float32(0.0)
                    x = min(max(x, np.float32(-GRID_TOP)), np.float32(GRID_TOP))
                    # Adding and subtracting 1.5 * 2^52 rounds to an integer, half to even as rint does.
                    row[j] += np.int64((np.float64(x) * _GRID + _ROUND) - _ROUND)
            i += 1
        _add_row(row, totals[token, 0], totals[token, 1])


@compiled
def _add_one(acts, low, high):  # type: ignore[no-untyped-def]
    """Add the activations `[M]` of one token, below `_SMALL` in size, to the words `[M]` of its totals."""
    for start in range(0, len(low), _PART):
        some, words = acts[start : start + _PART], low[start : start + _PART]
        over = np.int32(0)
        for j in range(len(words)):
            x, before = np.int32(np.rint(some[j] * _GRID_32)), words[j]
            after = np.int32(before + x)
            over |= _wraps(before, x, after)
            words[j] = after
        if over < 0:
            for j in range(len(words)):
                x, after = np.int32(np.rint(some[j] * _GRID_32)), words[j]
                if _wraps(np.int32(after - x), x, after) < 0:
                    high[start + j] += np.int32(1 if x > 0 else -1)


@inlined
def _wraps(a, b, total):  # type: ignore[no-untyped-def]
    """Return a negative number if the 32-bit sum a + b overflowed; `total` is the wrapped sum."""
    return np.int32((a ^ total) & (b ^ total))


@compiled
def _add_row(row, low, high):  # type: ignore[no-untyped-def]
    """Add a row `[M]` of int64, which is overwritten, to the words `[M]` of a token's totals."""
    for start in range(0, len(row), _PART):
        some, words = row[start : start + _PART], low[start : start + _PART]
        carries = np.int64(0)
        for j in range(len(words)):
            total = some[j] + np.int64(words[j])
            word = np.int32(total)
            words[j] = word
            some[j] = total - np.int64(word)
            carries |= some[j]
        if carries != 0:
            for j in range(len(words)):
                high[start + j] += np.int32(some[j] >> np.int64(32))
