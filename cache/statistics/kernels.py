"""Compiled: one read of a context's activations updates everything that is counted and summed about them.

Every function works on the neurons `first` to `last` alone and releases the GIL, so threads can share a
layer. What they compute is defined in numpy by `cache.format.histogram.bin_index`, `identity` and
tests/test_cache; what they write to is laid out in `accumulate` and `kept`.

Three habits, each worth a factor on some processor: indices are unsigned, since numba wraps signed ones
around and an access that may wrap is not read with one vector load; a running minimum is written back with
0 added, since a write of what is already there becomes a masked one, which AMD's processors do slowly; and
tokens are copied, a tile at a time, next to each other, since rows a power of two apart evict each other.
"""

import numpy as np

from cache.format.histogram import FIRST_KEY, N_BINS, N_SIDE, ZERO
from cache.statistics.by_token import GRID_BITS, GRID_TOP
from cache.statistics.jit import compiled, inlined
from cache.statistics.sampling_kernels import consider, priority_half, slot_of

BLOCK = 128
"""Neurons whose counters in use stay in a core's caches while a context passes: what `counts` is made of."""
_TILE = 32  # tokens; a multiple of 4
_FLAGS = 8  # of them in a machine word

_GRID = 2.0**GRID_BITS
_GRID_32 = np.float32(_GRID)
_ROUND = 1.5 * 2.0**52
_SMALL = np.float32(2.0 ** (31 - GRID_BITS))


@compiled
def scan(  # type: ignore[no-untyped-def]
    acts,
    hook,
    context,
    first,
    last,
    counts,
    sums,
    extremes,
    base,
    limit,
    common,
    rare,
    kept,
    neuron_keys,
    n_before,
    n_after,
):
    """Count, sum, find the extremes of one context and sample its tokens.

    Neurons pass a block at a time, whose counters then stay at hand, and of a block tiles of tokens: first
    the arithmetic, branch-free so that it runs on vector registers, then the scattered increments of the
    histograms, then the few tokens that may enter a sample.

    Args:
        acts: of each hook `[T, M]` float32, C-contiguous; position 0 is the BOS, which is counted nowhere.
        hook: which of them.
        context: a `Sequence` of `accumulate`.
        first, last: neurons to work on.
        counts: `[ceil((last - first) / BLOCK), N_BINS + 2, BLOCK]` uint16, added to; emptied by the caller
            before they can overflow. The last two bins count NaN and infinity, which are in nothing else.
            What is beyond `last` in the last block means nothing.
        sums: `[5, M]` float64, overwritten: the context's sums of x, x^2, x^3, x^4 and of x above 0.
        extremes: `[2, M]` float32, overwritten: the context's lowest and highest finite value; inf and -inf
            where there is none.
        base: `[M]` int32, the first tracked bin, see `ranges`.
        limit: `[M, N_LISTS + 1]` uint32: only a token whose priority's high half is at most this can enter;
            the last column is for bins above the tracked ones and lets everything through.
        common, rare: `[M]` uint32 and float32: a token with a higher priority and a lower value enters
            nothing, see `sampling_kernels.tune`.
        kept: the range samples, `N_LISTS` lists a neuron.
        neuron_keys: `[M]` uint64, see `identity`.

    Returns:
        Whether all of it was finite.
    """
    values = acts[hook]
    n_tokens, width = values.shape[0], last - first
    # Arrays of this function's own: only of those does the compiler know that they don't overlap.
    tile = np.zeros((_TILE, BLOCK), np.float32)
    bits, halves = tile.view(np.int32), np.empty(_TILE, np.uint32)
    s1, s2, positive = np.zeros(width), np.zeros(width), np.zeros(width)
    s3, s4 = np.zeros(width), np.zeros(width)
    low, high = np.full(width, np.float32(np.inf)), np.full(width, np.float32(-np.inf))
    bars = _bars(first, last, neuron_keys, common, rare)
    index, flags = np.empty(_TILE * BLOCK, np.uint32), np.empty(_TILE * BLOCK, np.uint8)
    words, found = flags.view(np.uint64), np.empty(_TILE * BLOCK // _FLAGS, np.uint32)
    for block in range(0, width, BLOCK):
        n = min(BLOCK, width - block)
        block_bars, block_counts = bars[block // BLOCK], counts[block // BLOCK].reshape(-1)
        for start in range(1, n_tokens, _TILE):
            n_rows = min(_TILE, n_tokens - start)
            for row in range(n_rows):
                halves[row] = np.uint32(context.hashes[start + row] >> np.uint64(32))
                for i in range(n):
                    tile[row, i] = values[start + row, np.uintp(first + block) + np.uintp(i)]
            _sum(tile, n_rows, block, n, s1, s2, s3, s4, positive, low, high)
            _place(bits, halves, n_rows, block_bars, index, flags)
            _count(index, n_rows * BLOCK, block_counts)
            for k in range(_set_words(words, n_rows * BLOCK // _FLAGS, found)):
                for flag in range(found[k] * _FLAGS, found[k] * _FLAGS + _FLAGS):
                    row, i = flag // BLOCK, flag % BLOCK
                    if flags[flag] == 0 or i >= n:
                        continue
                    at, j = np.int64(index[flag] // np.uint32(BLOCK)), first + block + i
                    chance = priority_half(halves[row], block_bars[i])
                    if chance <= limit[j, slot_of(at, base[j])]:
                        consider(
                            at, start + row, j, chance, acts, hook, j, 0, context, base, limit, kept,
                            neuron_keys[j], n_before, n_after,
                        )  # fmt: skip
    sums[0, first:last], sums[1, first:last], sums[2, first:last] = s1, s2, s3
    sums[3, first:last], sums[4, first:last] = s4, positive
    extremes[0, first:last], extremes[1, first:last] = low, high
    finite = True
    for j in range(first, last):
        if not sums[1, j] < np.inf:
            finite = False
            at = j - first
            _leave_out_odd(values, j, counts[at // BLOCK, :, at % BLOCK], sums, extremes)
    return finite


@inlined
def _sum(tile, n_rows, block, n, s1, s2, s3, s4, positive, low, high):  # type: ignore[no-untyped-def]
    """Add the tokens of a tile, four at a time, to the sums of its n neurons, which begin at `block`."""
    zero = np.float32(0.0)
    for four in range(n_rows // 4):
        t = 4 * four
        for i in range(n):
            j = np.uintp(block) + np.uintp(i)
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
        for i in range(n):
            j = np.uintp(block) + np.uintp(i)
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
def _bars(first, last, neuron_keys, common, rare):  # type: ignore[no-untyped-def]
    """What `_place` needs of each block, `[n_blocks, 4 * BLOCK]` uint32.

    Keys, `common`, the bits before those of `rare`, and the numbers from 0. Beyond the last neuron next to
    nothing passes.
    """
    bars = np.zeros((-(-(last - first) // BLOCK), 4 * BLOCK), np.uint32)
    bars[:, 2 * BLOCK : 3 * BLOCK] = np.float32(np.inf).view(np.uint32)
    bars[:, 3 * BLOCK :] = np.arange(BLOCK)
    for j in range(first, last):
        block, i = (j - first) // BLOCK, (j - first) % BLOCK
        bars[block, i] = np.uint32(neuron_keys[j] >> np.uint64(32))
        bars[block, BLOCK + i] = common[j]
        bars[block, 2 * BLOCK + i] = np.float32(rare[j]).view(np.uint32) - np.uint32(1)
    return bars


@compiled
def _place(bits, halves, n_rows, bars, index, flags):  # type: ignore[no-untyped-def]
    """Of the neurons of a tile at each token: where they are counted, and whether they may enter a sample.

    What is not a number or infinite is placed in the outermost bins. Float32 above 0 are in the order of
    their bits.

    Args:
        bits: `[_TILE, BLOCK]` int32, those of the activations. halves: `[_TILE]`, of tokens' priorities.
        n_rows: tokens in the tile.
        bars: of the block, as `_bars` made them.
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
            chance = priority_half(half, bars[i])
            most, below = bars[i + np.uintp(BLOCK)], bars[i + np.uintp(2 * BLOCK)]
            index[start + i] = np.uint32(np.uint32(at) * np.uint32(BLOCK) + bars[i + np.uintp(3 * BLOCK)])
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


@compiled
def add_by_token(values, order, tokens, first, last, extremes, finite, totals):  # type: ignore[no-untyped-def]
    """Add a context's activations to the totals of their tokens, on a fixed grid so that order is nothing.

    Args:
        values: `[T, M]` float32, C-contiguous.
        order: `[T - 1]` positions past the BOS, those of one token beside each other.
        tokens: `[T]`.
        first, last: neurons to work on.
        extremes, finite: as `scan` left and returned them.
        totals: `[V, M]` int64 in units of `2 ** -GRID_BITS`, added to. Values are taken as at most
            `GRID_TOP` in size, NaN as 0.
    """
    # On the grid most values fit 32 bits, which is half the arithmetic.
    small = finite and extremes[0, first:last].min() > -_SMALL and extremes[1, first:last].max() < _SMALL
    row = np.empty(last - first, np.int64)
    i = 0
    while i < len(order):
        token = tokens[order[i]]
        row[:] = 0
        while i < len(order) and tokens[order[i]] == token:
            found = values[order[i]][first:last]
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
        total = totals[token][first:last]
        for j in range(len(row)):
            total[j] += row[j]
