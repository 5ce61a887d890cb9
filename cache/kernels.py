"""The compiled inner loops: one read of a context's activations updates everything kept about them.

Every function works on the neurons `first` to `last` alone and releases the GIL, so threads can share a
layer. What they compute is defined in numpy by `cache.histogram.bin_index`, `cache.identity` and
tests/test_cache; what they write to is laid out in `cache.accumulate` and `cache.kept`.
"""

import numba
import numpy as np

# numba's cache on disk looks at this file's date alone: after a change of one of these constants, save this
# file as well (the tests notice).
from cache.by_token import GRID_BITS, GRID_TOP
from cache.histogram import FIRST_KEY, N_BINS, N_SIDE, ZERO
from cache.identity import FINGERPRINT_AFTER, FINGERPRINT_BEFORE, MIX_1, MIX_2
from cache.ranges import FIRST_TRACKED, LOW, N_LISTS, N_TRACKED, NOT_POSITIVE

_BLOCK = 128  # neurons whose counts stay in a core's cache while a context passes

_GRID = 2.0**GRID_BITS
_ROUND = 1.5 * 2.0**52

_jit = numba.njit(nogil=True, cache=True, boundscheck=False, error_model="numpy")
_inline = numba.njit(nogil=True, cache=True, boundscheck=False, error_model="numpy", inline="always")


@_inline
def priority_half(token_half, neuron_half):  # type: ignore[no-untyped-def]
    """32 bits of a token's sampling priority for a neuron, see `cache.identity.priority`."""
    x = np.uint32(token_half ^ neuron_half)
    x = np.uint32(x * np.uint32(MIX_1))
    x = np.uint32(x ^ (x >> np.uint32(15)))
    return np.uint32(x * np.uint32(MIX_2))


@_inline
def ascending(x):  # type: ignore[no-untyped-def]
    """A finite float32 as an unsigned integer in the same order; both zeros are one."""
    bits = np.int64(np.float32(x + np.float32(0.0)).view(np.int32))
    return np.uint64(bits + 0x80000000) if bits >= 0 else np.uint64(0x7FFFFFFF - (bits & 0x7FFFFFFF))


@_jit
def _record(kept, i, k, score, key, context, acts, neuron, at, n_before, n_after):  # type: ignore[no-untyped-def]
    """Write the example around token `at` of a context to slot k of list i."""
    length = len(context.tokens)
    low = max(at - n_before, 1)  # the BOS is in no window: its activation is no example's
    high = min(at + n_after + 1, length)
    kept.score[i, k] = score
    kept.key[i, k] = key
    kept.document[i, k] = context.document
    kept.position[i, k] = context.start + at - 1
    kept.start[i, k] = context.start
    kept.peak[i, k] = at - low
    kept.length[i, k] = high - low
    for t in range(low, high):
        kept.tokens[i, k, t - low] = context.tokens[t]
    for h in range(acts.shape[0]):
        kept.value[i, k, h] = acts[h, at, neuron]
        bottom, top = np.float32(np.inf), np.float32(-np.inf)
        for t in range(low, high):
            x = acts[h, t, neuron]
            if np.isfinite(x):
                bottom, top = min(bottom, x), max(top, x)
        if bottom > top:
            bottom = top = np.float32(0.0)
        kept.low[i, k, h], kept.high[i, k, h] = bottom, top
        span = np.float64(top) - np.float64(bottom)
        scale = 255.0 / span if span > 0 else 0.0
        for t in range(low, high):
            x = np.float64(acts[h, t, neuron])
            x = 0.0 if x != x else min(max(x, np.float64(bottom)), np.float64(top))
            kept.levels[i, k, h, t - low] = np.uint8(min(max(np.rint((x - bottom) * scale), 0.0), 255.0))


@_jit
def copy_record(source, i, a, target, j, b):  # type: ignore[no-untyped-def]
    """Copy slot a of list i to slot b of list j."""
    target.score[j, b] = source.score[i, a]
    target.key[j, b] = source.key[i, a]
    target.document[j, b] = source.document[i, a]
    target.position[j, b] = source.position[i, a]
    target.start[j, b] = source.start[i, a]
    target.peak[j, b] = source.peak[i, a]
    target.length[j, b] = source.length[i, a]
    target.tokens[j, b] = source.tokens[i, a]
    target.value[j, b] = source.value[i, a]
    target.low[j, b] = source.low[i, a]
    target.high[j, b] = source.high[i, a]
    target.levels[j, b] = source.levels[i, a]


@_inline
def _before(score, document, position, other_score, other_document, other_position):  # type: ignore[no-untyped-def]
    """Whether an example ranks before another: lower score, then earlier document, then earlier token."""
    if score != other_score:
        return score < other_score
    if document != other_document:
        return document < other_document
    return position < other_position


@_jit
def slot_for(kept, i, score, key, document, position):  # type: ignore[no-untyped-def]
    """The slot of list i that an example may take: that of its key, a free one, or the worst; -1 for none."""
    worst = -1
    for k in range(kept.score.shape[1]):
        if kept.length[i, k] == 0:
            if worst < 0 or kept.length[i, worst] != 0:
                worst = k
            continue
        if kept.key[i, k] == key:
            better = _before(
                score, document, position, kept.score[i, k], kept.document[i, k], kept.position[i, k]
            )
            return k if better else -1
        if worst < 0 or (
            kept.length[i, worst] != 0
            and _before(
                kept.score[i, worst], kept.document[i, worst], kept.position[i, worst],
                kept.score[i, k], kept.document[i, k], kept.position[i, k],
            )
        ):  # fmt: skip
            worst = k
    if kept.length[i, worst] == 0 or _before(
        score, document, position, kept.score[i, worst], kept.document[i, worst], kept.position[i, worst]
    ):
        return worst
    return -1


@_jit
def worst_score(kept, i):  # type: ignore[no-untyped-def]
    """The highest score that could still enter list i."""
    worst = np.uint64(0)
    for k in range(kept.score.shape[1]):
        if kept.length[i, k] == 0:
            return np.uint64(0xFFFFFFFFFFFFFFFF)
        worst = max(worst, kept.score[i, k])
    return worst


@_jit
def _raise_top(kept, limit, base, neuron, new_base):  # type: ignore[no-untyped-def]
    """Follow a new maximum: bins that fall out of the tracked ones join the list LOW.

    Args:
        kept: lists `N_LISTS` a neuron. limit: `[M, N_LISTS]` uint32, see `scan`. base: `[M]` int32.
        new_base: the first bin tracked from now on, above `base[neuron]`.
    """
    by = new_base - base[neuron]
    first = neuron * N_LISTS
    for old in range(FIRST_TRACKED, N_LISTS):
        new = old - by
        source, target = first + old, first + (new if new >= FIRST_TRACKED else LOW)
        for k in range(kept.score.shape[1]):
            if kept.length[source, k] == 0:
                continue
            if new >= FIRST_TRACKED:
                copy_record(kept, source, k, kept, target, k)
            else:
                slot = slot_for(
                    kept, target, kept.score[source, k], kept.key[source, k],
                    kept.document[source, k], kept.position[source, k],
                )  # fmt: skip
                if slot >= 0:
                    copy_record(kept, source, k, kept, target, slot)
            kept.length[source, k] = 0
    base[neuron] = new_base
    for slot in range(N_LISTS):
        limit[neuron, slot] = worst_score(kept, first + slot) >> np.uint64(32)


@_jit
def _consider(index, t, j, chance, acts, context, base, limit, kept, neuron_key, n_before, n_after):  # type: ignore[no-untyped-def]
    """Let a token into the sample of its bin, if its whole priority is low enough; arguments as in `scan`."""
    if index >= N_BINS:  # not a number, or infinite
        return
    if index > np.int64(base[j]) + N_TRACKED - 1:
        _raise_top(kept, limit, base, j, index - N_TRACKED + 1)
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
        _record(kept, which, k, score, key, context, acts, j, t, n_before, n_after)
        limit[j, slot] = worst_score(kept, which) >> np.uint64(32)


@_jit
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


@_jit
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


@_inline
def fingerprint(tokens, at):  # type: ignore[no-untyped-def]
    """What makes two examples near-identical, see `cache.identity.fingerprint`."""
    h = np.uint64(0xCBF29CE484222325)
    for t in range(max(at - FINGERPRINT_BEFORE, 1), min(at + FINGERPRINT_AFTER + 1, len(tokens))):
        h = (h ^ np.uint64(tokens[t] + 1)) * np.uint64(0x100000001B3)
    return h


@_jit
def note_peaks(acts, hook, context, first, last, extremes, sign, limit, pending, n_before, n_after):  # type: ignore[no-untyped-def]
    """Remember a context's peak where it is its document's best so far and could enter the list.

    Args:
        acts, hook, context, first, last: as in `scan`. extremes: as `scan` left them.
        sign: 1 for the highest values, -1 for the lowest.
        limit: `[M]` uint64, the worst score that could still enter each neuron's list.
        pending: one slot a neuron, the document's best.
    """
    for j in range(first, last):
        x = extremes[1, j] if sign > 0 else extremes[0, j]
        if not np.isfinite(x):
            continue
        score = ascending(-x) if sign > 0 else ascending(x)
        if score > limit[j] or (pending.length[j, 0] != 0 and score >= pending.score[j, 0]):
            continue
        at = 1
        while acts[hook, at, j] != x:
            at += 1
        key = fingerprint(context.tokens, at)
        _record(pending, j, 0, score, key, context, acts, j, at, n_before, n_after)


@_jit
def settle_peaks(first, last, limit, pending, kept):  # type: ignore[no-untyped-def]
    """At a document's end, offer its best to each neuron's list; arguments as in `note_peaks`."""
    for j in range(first, last):
        if pending.length[j, 0] == 0:
            continue
        slot = slot_for(
            kept, j, pending.score[j, 0], pending.key[j, 0], pending.document[j, 0], pending.position[j, 0]
        )
        if slot >= 0:
            copy_record(pending, j, 0, kept, j, slot)
            limit[j] = worst_score(kept, j)
        pending.length[j, 0] = 0


@_jit
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
