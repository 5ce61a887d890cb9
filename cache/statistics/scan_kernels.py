"""Compiled loops that read a context's activations once, for all counts, sums and extremes.

Every function works on its own neurons and releases the GIL. The definitions, in numpy, are
`cache.format.histogram.bin_index`, `identity` and tests/test_cache/statistics/test_accumulator.py.

Rules that these loops follow, each of which made them much faster on some processor (docs/log.md):
- Indices are unsigned. numba wraps signed indices around, and an access that may wrap is not one vector load.
- 0 is added to a running minimum before it is written back. Without it the compiler writes only lanes that
  changed, with masked stores, which are slow on AMD's processors.
- Memory is read in its order, since processors prefetch only the row that follows the last one.
- Tokens are copied next to each other, since rows that lie a power of two apart evict each other.
"""

import numpy as np

from cache.format.histogram import FIRST_KEY, N_BINS, N_SIDE, ZERO
from cache.statistics.jit import compiled, inlined, trailing_zeros
from cache.statistics.sample_kernels import (
    BIN_SHIFT,
    BLOCK,
    COMMON,
    KEYS,
    NUMBERS,
    RARE,
    TOKEN_SHIFT,
    priority_half,
)

SPAN = 16 * BLOCK
"""Most neurons of one scan."""
ROOM = 2**19
"""Candidates for samples that one scan can return; a token is a candidate at most once for each neuron."""
_PIECE = 128
"""Tokens that are copied together: for a span of neurons as much as a second-level cache holds."""
_TILE = 32
"""Tokens of a piece that are processed together; a multiple of 4."""
_FLAGS = 8
"""Flags (bytes) in a machine word."""


@compiled
def scan(values, hashes, begin, first, last, cutoffs, counts, sums, extremes, candidates):  # type: ignore[no-untyped-def]
    """Update counts, sums and extremes of one context, and find the tokens that may enter a sample.

    The context is processed in pieces, of a piece one block of neurons at a time, whose counters then stay
    in the CPU caches, and of a block one tile of tokens at a time: first the arithmetic, without
    branches so that it runs on vector registers, then the scattered increments of the histograms. The scan
    returns early when `candidates` may have no room for another piece.

    Args:
        values: `[T, M]` float32, C-contiguous; position 0 is the BOS, which is not counted.
        hashes: `[T]` uint64, names of the tokens, see `identity.token_hashes`.
        begin: first position to process: 1, then the position that the previous scan returned.
        first, last: neurons to process, from `first`, a multiple of BLOCK, to before `last`; at most SPAN.
        cutoffs: of all neurons, see `sample_kernels.initial_cutoffs`.
        counts: `[n_blocks, N_BINS + 2, BLOCK]` uint16 of all neurons, added to; the caller empties them
            before they can overflow. In the last block, places beyond the last neuron hold no counts.
        sums: `[5, M]` float64, added to: sums of x, x^2, x^3, x^4 and of x above 0.
        extremes: `[2, M]` float32, updated: lowest and highest value.
        candidates: `[ROOM]` uint64, written: tokens that may enter a sample, as
            `sample_kernels.offer_tokens` takes them.

    Returns:
        The position at which to continue, T at the end, and the number of candidates.
    """
    n_tokens, width = values.shape[0], last - first
    n_blocks, first_block = -(-width // BLOCK), first // BLOCK
    # Copies in local arrays: the compiler knows that these do not overlap, and vectorises the loops.
    piece = np.empty((n_blocks, _PIECE, BLOCK), np.float32)
    halves, padded = np.empty(_PIECE, np.uint32), n_blocks * BLOCK
    s1, s2, positive = np.zeros(padded), np.zeros(padded), np.zeros(padded)
    s3, s4 = np.zeros(padded), np.zeros(padded)
    low, high = np.zeros(padded, np.float32), np.zeros(padded, np.float32)
    s1[:width], s2[:width], s3[:width] = sums[0, first:last], sums[1, first:last], sums[2, first:last]
    s4[:width], positive[:width] = sums[3, first:last], sums[4, first:last]
    low[:width], high[:width] = extremes[0, first:last], extremes[1, first:last]
    index, flags = np.empty(_TILE * BLOCK, np.uint32), np.empty(_TILE * BLOCK, np.uint8)
    words, nonzero = flags.view(np.uint64), np.empty(_TILE * BLOCK // _FLAGS, np.uint32)
    n_candidates = np.uintp(0)
    while begin < n_tokens and n_candidates < np.uintp(ROOM - _PIECE * SPAN):
        end = min(begin + _PIECE, n_tokens)
        _copy(values, begin, end, first, last, piece)
        for row in range(end - begin):
            halves[row] = np.uint32(hashes[begin + row] >> np.uint64(32))
        for b in range(n_blocks):
            block_cutoffs, block_counts = cutoffs[first_block + b], counts[first_block + b].reshape(-1)
            for start in range(begin, end, _TILE):
                n_rows = min(_TILE, end - start)
                tile = piece[b, start - begin :]
                _sum(tile, n_rows, b * BLOCK, s1, s2, s3, s4, positive, low, high)
                _classify(tile.view(np.int32), halves[start - begin :], n_rows, block_cutoffs, index, flags)
                _count(index, n_rows * BLOCK, block_counts)
                for k in range(_nonzero_words(words, n_rows * BLOCK // _FLAGS, nonzero)):
                    word = words[nonzero[k]]
                    while word != 0:
                        flag = np.uintp(nonzero[k]) * np.uintp(_FLAGS) + (trailing_zeros(word) >> np.uintp(3))
                        word &= word - np.uint64(1)
                        row, i = flag // np.uintp(BLOCK), flag % np.uintp(BLOCK)
                        candidates[n_candidates] = (
                            np.uint64(index[flag] // np.uint32(BLOCK)) << np.uint64(BIN_SHIFT)
                            | (np.uint64(start) + row) << np.uint64(TOKEN_SHIFT)
                            | (np.uint64(first + b * BLOCK) + i)
                        )
                        n_candidates += np.uintp(first + b * BLOCK + np.int64(i) < last)
        begin = end
    sums[0, first:last], sums[1, first:last], sums[2, first:last] = s1[:width], s2[:width], s3[:width]
    sums[3, first:last], sums[4, first:last] = s4[:width], positive[:width]
    extremes[0, first:last], extremes[1, first:last] = low[:width], high[:width]
    return begin, n_candidates


@compiled
def _copy(values, begin, end, first, last, piece):  # type: ignore[no-untyped-def]
    """Copy tokens `begin` to before `end` in the order of memory, so that a block's lie next to each other.

    Args:
        values: as in `scan`.
        piece: `[n_blocks, _PIECE, BLOCK]` float32, written.
    """
    for t in range(begin, end):
        for b in range((last - first) // BLOCK):
            for i in range(np.uintp(BLOCK)):
                piece[b, t - begin, i] = values[np.uintp(t), np.uintp(first + b * BLOCK) + i]
        for j in range(first + (last - first) // BLOCK * BLOCK, last):
            piece[(j - first) // BLOCK, t - begin, (j - first) % BLOCK] = values[t, j]


@inlined
def _sum(tile, n_rows, block, s1, s2, s3, s4, positive, low, high):  # type: ignore[no-untyped-def]
    """Add the tokens of a tile to the sums of its neurons, four tokens at a time.

    Four tokens are summed before they are added to a running sum: that is one dependent addition in place
    of four. The order of additions is part of the cache's definition (`_exclude_nonfinite` repeats it).

    Args:
        tile: `[., BLOCK]` float32, of which the first `n_rows` are added.
        block: index of the block's first neuron in the sums.
    """
    zero = np.float32(0.0)
    for four in range(n_rows // 4):
        t = 4 * four
        for i in range(np.uintp(BLOCK)):
            j = np.uintp(block) + i
            a, b, c, d = tile[t, i], tile[t + 1, i], tile[t + 2, i], tile[t + 3, i]
            ya, yb, yc, yd = np.float64(a), np.float64(b), np.float64(c), np.float64(d)
            qa, qb, qc, qd = ya * ya, yb * yb, yc * yc, yd * yd
            s1[j] += (ya + yb) + (yc + yd)
            s2[j] += (qa + qb) + (qc + qd)
            s3[j] += (qa * ya + qb * yb) + (qc * yc + qd * yd)
            s4[j] += (qa * qa + qb * qb) + (qc * qc + qd * qd)
            positive[j] += (max(ya, 0.0) + max(yb, 0.0)) + (max(yc, 0.0) + max(yd, 0.0))
            low[j] = min(min(min(a, b), min(c, d)), low[j]) + zero
            high[j] = max(max(max(a, b), max(c, d)), high[j]) + zero
    for t in range(n_rows // 4 * 4, n_rows):
        for i in range(np.uintp(BLOCK)):
            j = np.uintp(block) + i
            x = tile[t, i]
            y = np.float64(x)
            q = y * y
            s1[j] += y
            s2[j] += q
            s3[j] += q * y
            s4[j] += q * q
            positive[j] += max(y, 0.0)
            low[j] = min(x, low[j]) + zero
            high[j] = max(x, high[j]) + zero


@compiled
def _classify(bits, halves, n_rows, cutoffs, index, flags):  # type: ignore[no-untyped-def]
    """Find the counter of each activation of a tile, and the activations that may enter a sample.

    NaN and infinity are put in the outermost bins here, and moved by `exclude_nonfinite`. Positive float32
    have the order of their bits, so the cutoff for values is compared as an integer.

    Args:
        bits: `[., BLOCK]` int32, the bits of the activations.
        halves: `[.]` uint32, high halves of the tokens' names.
        n_rows: tokens in the tile.
        cutoffs: of the block, see `sample_kernels.initial_cutoffs`.
        index: `[_TILE * BLOCK]` uint32, written: index of a counter in the block's counters.
        flags: `[_TILE * BLOCK]` uint8, written: 1 for an activation that may enter a sample.
    """
    for row in range(np.uintp(n_rows)):
        half, start = halves[row], row * np.uintp(BLOCK)
        for i in range(np.uintp(BLOCK)):
            word = bits[row, i]
            magnitude = word & np.int32(0x7FFFFFFF)
            offset = np.int32((magnitude >> np.int32(20)) - np.int32(FIRST_KEY))
            offset = np.int32(min(max(offset, np.int32(-1)), np.int32(N_SIDE)) + np.int32(2))
            offset = np.int32(0) if magnitude == 0 else offset
            at = np.int32(np.int32(ZERO) - offset if word < 0 else np.int32(ZERO) + offset)
            chance = priority_half(half, cutoffs[i + np.uintp(KEYS * BLOCK)])
            most, below = cutoffs[i + np.uintp(COMMON * BLOCK)], cutoffs[i + np.uintp(RARE * BLOCK)]
            number = cutoffs[i + np.uintp(NUMBERS * BLOCK)]
            index[start + i] = np.uint32(np.uint32(at) * np.uint32(BLOCK) + number)
            flags[start + i] = np.uint8((chance <= most) | (word > np.int32(below)))


@compiled
def _count(index, n, flat):  # type: ignore[no-untyped-def]
    """Add one to the counters of n activations: index `[n]`, flat `[(N_BINS + 2) * BLOCK]` uint16."""
    for i in range(n):
        flat[index[i]] += np.uint16(1)


@compiled
def _nonzero_words(words, n, nonzero):  # type: ignore[no-untyped-def]
    """Write the indices of those of n words that are not 0, without a branch; return their number."""
    n_nonzero = np.uintp(0)
    for w in range(n):
        nonzero[n_nonzero] = np.uint32(w)
        n_nonzero += np.uintp(words[w] != 0)
    return n_nonzero


@compiled
def exclude_nonfinite(values, counts, sums, extremes):  # type: ignore[no-untyped-def]
    """Move NaN and infinity to their own counters, and exclude them from sums and extremes.

    Call it after the scans of a context, of all spans.

    Args:
        values, counts, sums, extremes: as in `scan`; the last two bins of `counts` are NaN and infinity.

    Returns:
        True if all activations were finite.
    """
    finite = True
    for j in range(values.shape[1]):
        if not sums[1, j] < np.inf:  # a sum of squares is finite only if every term is
            finite = False
            _exclude_nonfinite(values, j, counts[j // BLOCK, :, j % BLOCK], sums, extremes)
    return finite


@compiled
def _exclude_nonfinite(values, j, counts, sums, extremes):  # type: ignore[no-untyped-def]
    """Sum a neuron's finite activations again, in the order of `_sum`, and count the others.

    Args:
        values, sums, extremes: as in `scan`.
        j: the neuron.
        counts: `[N_BINS + 2]` of the neuron.
    """
    sums[:, j] = 0.0
    low, high = np.float32(np.inf), np.float32(-np.inf)
    y, four = np.zeros(4), np.zeros(5)
    n_tokens = values.shape[0]
    n_fours = (n_tokens - 1) // 4
    for start in range(1, n_tokens, 4):
        y[:] = 0.0
        n = min(4, n_tokens - start)
        for i in range(n):
            x = values[start + i, j]
            if abs(x) < np.inf:
                y[i] = x
                low, high = min(x, low), max(x, high)
            else:
                counts[0 if np.float32(x).view(np.int32) < 0 else N_BINS - 1] -= np.uint16(1)
                counts[N_BINS if x != x else N_BINS + 1] += np.uint16(1)
        q = y * y
        if start > 4 * n_fours:  # the last ones, fewer than four, are added one by one
            for i in range(n):
                sums[0, j] += y[i]
                sums[1, j] += q[i]
                sums[2, j] += q[i] * y[i]
                sums[3, j] += q[i] * q[i]
                sums[4, j] += max(y[i], 0.0)
            continue
        four[0] = (y[0] + y[1]) + (y[2] + y[3])
        four[1] = (q[0] + q[1]) + (q[2] + q[3])
        four[2] = (q[0] * y[0] + q[1] * y[1]) + (q[2] * y[2] + q[3] * y[3])
        four[3] = (q[0] * q[0] + q[1] * q[1]) + (q[2] * q[2] + q[3] * q[3])
        four[4] = (max(y[0], 0.0) + max(y[1], 0.0)) + (max(y[2], 0.0) + max(y[3], 0.0))
        sums[:, j] += four
    extremes[0, j], extremes[1, j] = low, high
