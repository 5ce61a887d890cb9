"""Compiled: one read of a context's activations updates everything that is counted and summed about them.

Every function works on a range of neurons alone and releases the GIL. What they compute is defined in numpy
by `cache.format.histogram.bin_index`, `identity` and tests/test_cache; what they write to is laid out in
`accumulate` and `kept`.

Habits, each worth a factor on some processor: indices are unsigned, since numba wraps signed ones around
and an access that may wrap is not read with one vector load; a running minimum is written back with 0 added,
since a write of what is already there becomes a masked one, which AMD's processors do slowly; memory is read
in its order, since a processor foresees the next row only where it follows the last; and tokens are copied
next to each other, since rows a power of two apart evict each other.
"""

import numpy as np

from cache.format.histogram import FIRST_KEY, N_BINS, N_SIDE, ZERO
from cache.statistics.jit import compiled, inlined, trailing_zeros
from cache.statistics.sampling_kernels import (
    BINS_SHIFT,
    BLOCK,
    COMMON,
    KEYS,
    NUMBERS,
    RARE,
    TOKEN_SHIFT,
    priority_half,
)

SPAN = 16 * BLOCK
"""Neurons that a scan takes at most."""
ROOM = 2**19
"""Tokens that may enter a sample that a scan finds at once, and one a neuron of its span at most."""
_PIECE = 128  # tokens that are copied at once: for a span as much as a second-level cache holds
_TILE = 32  # tokens of them that are worked on at once; a multiple of 4
_FLAGS = 8  # in a machine word


@compiled
def scan(values, hashes, begin, first, last, bars, counts, sums, extremes, passing):  # type: ignore[no-untyped-def]
    """Count, sum and find the extremes of one context, and find the tokens that may enter a sample.

    A piece of the context passes a block of neurons at a time, whose counters then stay at hand, and of a
    block tiles of tokens: first the arithmetic, branch-free so that it runs on vector registers, then the
    scattered increments of the histograms. It ends where `passing` has no room for another piece.

    Args:
        values: `[T, M]` float32, C-contiguous; position 0 is the BOS, which is counted nowhere.
        hashes: `[T]` uint64, names of the tokens, see `identity`.
        begin: the first token to take: 1, then what the scan before returned.
        first, last: neurons to work on, at most SPAN; first is a multiple of BLOCK.
        bars: of all neurons, see `sampling_kernels.bars_of`.
        counts: `[n_blocks, N_BINS + 2, BLOCK]` uint16 of all neurons, added to; emptied by the caller before
            they can overflow. What is beyond the last neuron in the last block means nothing.
        sums: `[5, M]` float64, added to: of x, x^2, x^3, x^4 and of x above 0.
        extremes: `[2, M]` float32, widened: the lowest and highest value.
        passing: `[ROOM]` uint64, written: tokens that may enter a sample, see `sampling_kernels.admit`.

    Returns:
        Where to go on, T at the end, and how many tokens are in `passing`.
    """
    n_tokens, width = values.shape[0], last - first
    n_blocks, first_block = -(-width // BLOCK), first // BLOCK
    # Arrays of this function's own: only of those does the compiler know that they don't overlap.
    piece = np.empty((n_blocks, _PIECE, BLOCK), np.float32)
    halves, padded = np.empty(_PIECE, np.uint32), n_blocks * BLOCK
    s1, s2, positive = np.zeros(padded), np.zeros(padded), np.zeros(padded)
    s3, s4 = np.zeros(padded), np.zeros(padded)
    low, high = np.zeros(padded, np.float32), np.zeros(padded, np.float32)
    s1[:width], s2[:width], s3[:width] = sums[0, first:last], sums[1, first:last], sums[2, first:last]
    s4[:width], positive[:width] = sums[3, first:last], sums[4, first:last]
    low[:width], high[:width] = extremes[0, first:last], extremes[1, first:last]
    index, flags = np.empty(_TILE * BLOCK, np.uint32), np.empty(_TILE * BLOCK, np.uint8)
    words, found = flags.view(np.uint64), np.empty(_TILE * BLOCK // _FLAGS, np.uint32)
    n_passing = np.uintp(0)
    while begin < n_tokens and n_passing < np.uintp(ROOM - _PIECE * SPAN):
        end = min(begin + _PIECE, n_tokens)
        _copy(values, begin, end, first, last, piece)
        for row in range(end - begin):
            halves[row] = np.uint32(hashes[begin + row] >> np.uint64(32))
        for b in range(n_blocks):
            block_bars, block_counts = bars[first_block + b], counts[first_block + b].reshape(-1)
            for start in range(begin, end, _TILE):
                n_rows = min(_TILE, end - start)
                tile = piece[b, start - begin :]
                _sum(tile, n_rows, b * BLOCK, s1, s2, s3, s4, positive, low, high)
                _place(tile.view(np.int32), halves[start - begin :], n_rows, block_bars, index, flags)
                _count(index, n_rows * BLOCK, block_counts)
                for k in range(_set_words(words, n_rows * BLOCK // _FLAGS, found)):
                    word = words[found[k]]
                    while word != 0:
                        flag = np.uintp(found[k]) * np.uintp(_FLAGS) + (trailing_zeros(word) >> np.uintp(3))
                        word &= word - np.uint64(1)
                        row, i = flag // np.uintp(BLOCK), flag % np.uintp(BLOCK)
                        passing[n_passing] = (
                            np.uint64(index[flag] // np.uint32(BLOCK)) << np.uint64(BINS_SHIFT)
                            | (np.uint64(start) + row) << np.uint64(TOKEN_SHIFT)
                            | (np.uint64(first + b * BLOCK) + i)
                        )
                        n_passing += np.uintp(first + b * BLOCK + np.int64(i) < last)
        begin = end
    sums[0, first:last], sums[1, first:last], sums[2, first:last] = s1[:width], s2[:width], s3[:width]
    sums[3, first:last], sums[4, first:last] = s4[:width], positive[:width]
    extremes[0, first:last], extremes[1, first:last] = low[:width], high[:width]
    return begin, n_passing


@compiled
def _copy(values, begin, end, first, last, piece):  # type: ignore[no-untyped-def]
    """Copy tokens `begin` to `end` in the order of memory, a block's beside each other."""
    for t in range(begin, end):
        for b in range((last - first) // BLOCK):
            for i in range(np.uintp(BLOCK)):
                piece[b, t - begin, i] = values[np.uintp(t), np.uintp(first + b * BLOCK) + i]
        for j in range(first + (last - first) // BLOCK * BLOCK, last):
            piece[(j - first) // BLOCK, t - begin, (j - first) % BLOCK] = values[t, j]


@inlined
def _sum(tile, n_rows, block, s1, s2, s3, s4, positive, low, high):  # type: ignore[no-untyped-def]
    """Add the tokens of a tile, four at a time, to the sums of its neurons, which begin at `block`."""
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
def _place(bits, halves, n_rows, bars, index, flags):  # type: ignore[no-untyped-def]
    """Of the neurons of a tile at each token: where they are counted, and whether they may enter a sample.

    What is not a number or infinite is placed in the outermost bins. Float32 above 0 are in the order of
    their bits.

    Args:
        bits: `[., BLOCK]` int32, those of the activations. halves: `[.]`, of tokens' priorities.
        n_rows: tokens in the tile.
        bars: of the block, see `sampling_kernels.bars_of`.
        index, flags: `[_TILE * BLOCK]`, written: places in the block's counters, and 1 where one may enter.
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
            chance = priority_half(half, bars[i + np.uintp(KEYS * BLOCK)])
            most, below = bars[i + np.uintp(COMMON * BLOCK)], bars[i + np.uintp(RARE * BLOCK)]
            number = bars[i + np.uintp(NUMBERS * BLOCK)]
            index[start + i] = np.uint32(np.uint32(at) * np.uint32(BLOCK) + number)
            flags[start + i] = np.uint8((chance <= most) | (word > np.int32(below)))


@compiled
def _count(index, n, flat):  # type: ignore[no-untyped-def]
    """One more of each."""
    for i in range(n):
        flat[index[i]] += np.uint16(1)


@compiled
def _set_words(words, n, found):  # type: ignore[no-untyped-def]
    """Write which of n words are not 0, without a branch; returns how many."""
    n_found = np.uintp(0)
    for w in range(n):
        found[n_found] = np.uint32(w)
        n_found += np.uintp(words[w] != 0)
    return n_found


@compiled
def leave_out_odd(values, counts, sums, extremes):  # type: ignore[no-untyped-def]
    """After a context's scans: count NaN and infinity where they belong, and take them out of all else.

    Args:
        values, sums, extremes: as in `scan`. counts: the same; their last two bins are for NaN and infinity.

    Returns:
        Whether all was finite.
    """
    finite = True
    for j in range(values.shape[1]):
        if not sums[1, j] < np.inf:
            finite = False
            _leave_out_odd(values, j, counts[j // BLOCK, :, j % BLOCK], sums, extremes)
    return finite


@compiled
def _leave_out_odd(values, j, counts, sums, extremes):  # type: ignore[no-untyped-def]
    """Sum a neuron again without what is not a number or infinite, and count that where it belongs.

    Args:
        values, j, sums, extremes: as in `scan`. counts: `[N_BINS + 2]` of the neuron.
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
