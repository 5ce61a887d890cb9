"""Compiled: one read of a context's activations updates everything kept about them.

Every function works on the neurons `first` to `last` alone and releases the GIL, so threads can share a
layer. What they compute is defined in numpy by `cache.histogram.bin_index`, `cache.identity` and
tests/test_cache; what they write to is laid out in `cache.accumulate` and `cache.kept`.
"""

import numpy as np

from cache.by_token import GRID_BITS, GRID_TOP
from cache.histogram import FIRST_KEY, N_BINS, N_SIDE, ZERO
from cache.identity import MIX_1, MIX_2
from cache.jit import compiled, inlined
from cache.list_kernels import raise_top, record, slot_for, worst_score
from cache.ranges import FIRST_TRACKED, N_LISTS, N_TRACKED, NOT_POSITIVE

_BLOCK = 128  # neurons whose counts stay in a core's cache while a context passes

_GRID = 2.0**GRID_BITS
_ROUND = 1.5 * 2.0**52


@inlined
def priority_half(token_half, neuron_half):  # type: ignore[no-untyped-def]
    """32 bits of a token's sampling priority for a neuron, see `cache.identity.priority`."""
    x = np.uint32(token_half ^ neuron_half)
    x = np.uint32(x * np.uint32(MIX_1))
    x = np.uint32(x ^ (x >> np.uint32(15)))
    return np.uint32(x * np.uint32(MIX_2))


@compiled
def _consider(index, t, j, chance, acts, context, base, limit, kept, neuron_key, n_before, n_after):  # type: ignore[no-untyped-def]
    """Let a token into the sample of its bin, if its whole priority is low enough; arguments as in `scan`."""
    if index >= N_BINS:  # not a number, or infinite
        return
    if index > np.int64(base[j]) + N_TRACKED - 1:
        raise_top(kept, limit, base, j, index - N_TRACKED + 1)
    slot = NOT_POSITIVE if index <= ZERO else max(np.int64(index) - base[j], -1) + FIRST_TRACKED
    if chance > limit[j, slot]:
        return
    which = j * N_LISTS + slot
    key = context.hashes[t]
    score = np.uint64(chance) << np.uint64(32) | np.uint64(
        priority_half(np.uint32(key & np.uint64(0xFFFFFFFF)), np.uint32(neuron_key & np.uint64(0xFFFFFFFF)))
    )
    k = slot_for(kept, which, score, key, context.document, context.start + t - 1)
    if k >= 0:
        record(kept, which, k, score, key, context, acts, j, t, n_before, n_after)
        limit[j, slot] = worst_score(kept, which) >> np.uint64(32)


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
    kept,
    neuron_keys,
    n_before,
    n_after,
):
    """Count, sum, find the extremes of one context and sample its tokens.

    For each token the arithmetic on a block of neurons comes first, branch-free so that it runs on vector
    registers; the scattered increments of the histograms, and the rare tokens that enter a sample, follow.

    Args:
        acts: `[H, T, M]` float32, C-contiguous; position 0 is the BOS, which is counted nowhere.
        hook: which of them.
        context: a `Sequence` of `cache.accumulate`.
        first, last: neurons to work on.
        counts: `[last - first, N_BINS + 2]` uint16, added to; emptied by the caller before they can overflow.
            The last two columns count NaN and infinity, which are in nothing else.
        sums: `[5, M]` float64, overwritten: the context's sums of x, x^2, x^3, x^4 and of x above 0.
        extremes: `[2, M]` float32, overwritten: the context's lowest and highest finite value; inf and -inf
            where there is none.
        base: `[M]` int32, the first tracked bin, see `cache.ranges`.
        limit: `[M, N_LISTS + 1]` uint32: only a token whose priority's high half is at most this can enter;
            the last column is for bins above the tracked ones and lets everything through.
        kept: the range samples, `N_LISTS` lists a neuron.
        neuron_keys: `[M]` uint64, see `cache.identity`.
    """
    values = acts[hook]
    bits = values.view(np.int32)
    n_tokens = values.shape[0]
    index, slots = np.empty(_BLOCK, np.uint32), np.empty(_BLOCK, np.uint32)
    chance, keys = np.empty(_BLOCK, np.uint32), np.empty(_BLOCK, np.uint32)
    bases, entering = np.empty(_BLOCK, np.int32), np.empty(_BLOCK, np.int32)
    flat_counts, flat_limit = counts.reshape(-1), limit.reshape(-1)
    for block in range(first, last, _BLOCK):
        n = min(_BLOCK, last - block)
        _sum_block(values, block, n, sums, extremes)
        for i in range(n):
            keys[i] = np.uint32(neuron_keys[block + i] >> np.uint64(32))
            bases[i] = base[block + i]
        for t in range(1, n_tokens):
            half = np.uint32(context.hashes[t] >> np.uint64(32))
            for i in range(n):
                word = bits[t, block + i]
                magnitude = word & np.int32(0x7FFFFFFF)
                offset = np.int32((magnitude >> np.int32(20)) - np.int32(FIRST_KEY))
                offset = np.int32(min(max(offset, np.int32(-1)), np.int32(N_SIDE)) + np.int32(2))
                offset = np.int32(0) if magnitude == 0 else offset
                at = np.int32(np.int32(ZERO) - offset if word < 0 else np.int32(ZERO) + offset)
                odd = np.int32(N_BINS) if magnitude > np.int32(0x7F800000) else np.int32(N_BINS + 1)
                index[i] = np.uint32(at if magnitude < np.int32(0x7F800000) else odd)
                above = np.int32(max(np.int32(at - bases[i]), np.int32(-1)) + np.int32(FIRST_TRACKED))
                above = np.int32(min(above, np.int32(N_LISTS)))
                slots[i] = np.uint32(above if at > np.int32(ZERO) else np.int32(NOT_POSITIVE))
                chance[i] = priority_half(half, keys[i])
            # Unsigned indices of flat arrays: numba spares the check for negative ones, a third of the time.
            for i in range(n):
                j = np.uintp(block - first + i)
                flat_counts[j * np.uintp(N_BINS + 2) + np.uintp(index[i])] += np.uint16(1)
            n_entering = 0
            for i in range(n):
                j = np.uintp(block + i)
                if chance[i] <= flat_limit[j * np.uintp(N_LISTS + 1) + np.uintp(slots[i])]:
                    entering[n_entering] = i
                    n_entering += 1
            for e in range(n_entering):
                i = entering[e]
                _consider(
                    np.int64(index[i]), t, block + i, chance[i], acts, context, base, limit, kept,
                    neuron_keys[block + i], n_before, n_after,
                )  # fmt: skip
                bases[i] = base[block + i]


@compiled
def _sum_block(values, block, n, sums, extremes):  # type: ignore[no-untyped-def]
    """The sums and extremes of `scan` for the neurons `block` to `block + n`, four tokens at a time."""
    infinity = np.float32(np.inf)
    s1, s2, s3, s4 = np.zeros(_BLOCK), np.zeros(_BLOCK), np.zeros(_BLOCK), np.zeros(_BLOCK)
    positive = np.zeros(_BLOCK)
    low, high = np.full(_BLOCK, infinity), np.full(_BLOCK, -infinity)
    n_tokens = values.shape[0]
    n_fours = (n_tokens - 1) // 4
    for four in range(n_fours):
        t = 1 + 4 * four
        for i in range(n):
            j = block + i
            a, b, c, d = values[t, j], values[t + 1, j], values[t + 2, j], values[t + 3, j]
            fa, fb, fc, fd = abs(a) < infinity, abs(b) < infinity, abs(c) < infinity, abs(d) < infinity
            ya = np.float64(a) if fa else 0.0
            yb = np.float64(b) if fb else 0.0
            yc = np.float64(c) if fc else 0.0
            yd = np.float64(d) if fd else 0.0
            qa, qb, qc, qd = ya * ya, yb * yb, yc * yc, yd * yd
            s1[i] += (ya + yb) + (yc + yd)
            s2[i] += (qa + qb) + (qc + qd)
            s3[i] += (qa * ya + qb * yb) + (qc * yc + qd * yd)
            s4[i] += (qa * qa + qb * qb) + (qc * qc + qd * qd)
            positive[i] += (max(ya, 0.0) + max(yb, 0.0)) + (max(yc, 0.0) + max(yd, 0.0))
            la, lb, lc, ld = (
                a if fa else infinity,
                b if fb else infinity,
                c if fc else infinity,
                d if fd else infinity,
            )
            la, lc = la if la < lb else lb, lc if lc < ld else ld
            la = la if la < lc else lc
            low[i] = la if la < low[i] else low[i]
            ha, hb, hc, hd = (
                a if fa else -infinity,
                b if fb else -infinity,
                c if fc else -infinity,
                d if fd else -infinity,
            )
            ha, hc = ha if ha > hb else hb, hc if hc > hd else hd
            ha = ha if ha > hc else hc
            high[i] = ha if ha > high[i] else high[i]
    for t in range(1 + 4 * n_fours, n_tokens):
        for i in range(n):
            x = values[t, block + i]
            finite = abs(x) < infinity
            y = np.float64(x) if finite else 0.0
            q = y * y
            s1[i] += y
            s2[i] += q
            s3[i] += q * y
            s4[i] += q * q
            positive[i] += max(y, 0.0)
            down, up = x if finite else infinity, x if finite else -infinity
            low[i] = down if down < low[i] else low[i]
            high[i] = up if up > high[i] else high[i]
    for i in range(n):
        j = block + i
        sums[0, j], sums[1, j], sums[2, j], sums[3, j], sums[4, j] = s1[i], s2[i], s3[i], s4[i], positive[i]
        extremes[0, j], extremes[1, j] = low[i], high[i]


@compiled
def add_by_token(values, order, tokens, first, last, totals):  # type: ignore[no-untyped-def]
    """Add a context's activations to the totals of their tokens, on a fixed grid so that order is nothing.

    Args:
        values: `[T, M]` float32.
        order: `[T - 1]` positions past the BOS, those of one token beside each other.
        tokens: `[T]`.
        first, last: neurons to work on.
        totals: `[V, M]` int64 in units of `2 ** -GRID_BITS`, added to. Values are taken as at most
            `GRID_TOP` in size, NaN as 0.
    """
    row = np.empty(last - first)  # whole numbers: exact in float64 for the tokens of a context
    i = 0
    while i < len(order):
        token = tokens[order[i]]
        row[:] = 0.0
        while i < len(order) and tokens[order[i]] == token:
            t = order[i]
            for j in range(first, last):
                x = values[t, j]
                x = x if x == x else np.float32(0.0)
                x = min(max(x, np.float32(-GRID_TOP)), np.float32(GRID_TOP))
                # Adding and taking away 1.5 * 2^52 rounds to a whole number, to even as rint does.
                row[j - first] += (np.float64(x) * _GRID + _ROUND) - _ROUND
            i += 1
        for j in range(first, last):
            totals[token, j] += np.int64(row[j - first])
