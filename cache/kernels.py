"""The compiled inner loops: one read of a batch's activations updates everything kept about them.

Each function works on the neurons `first` to `last` alone and releases the GIL, so threads can share a
layer. Definitions in numpy: `cache.histogram.bin_index`, tests/test_cache.
"""

import numba
import numpy as np

from cache.histogram import FIRST_KEY, N_SIDE, ZERO

_BLOCK = 64  # neurons whose histograms stay in a core's cache while a batch passes

_jit = numba.njit(nogil=True, cache=True, boundscheck=False)


@_jit
def scan(values, lengths, first, last, counts, sums, extremes, odd, best, best_at):  # type: ignore[no-untyped-def]
    """Count, sum and find each context's peak.

    For each token the arithmetic on a block of neurons comes first, branch-free so that it runs on vector
    registers; the scattered increments of the histograms follow.

    Args:
        values: `[B, T, M]` float32, C-contiguous.
        lengths: `[B]` tokens of each context, the BOS at position 0 included; later positions are padding.
        first, last: neurons to work on.
        counts: `[M, N_BINS]` int64, added to.
        sums: `[M, 4]` float64 sums of x, x^2, x^3, x^4, added to.
        extremes: `[M, 2]` float32 min and max, updated.
        odd: `[M, 2]` int64 counts of NaN and infinity, added to; such values go nowhere else.
        best: `[B, M]` float32, overwritten: the highest value past the BOS, -inf where there is none.
        best_at: `[B, M]` int32, overwritten: its first position.
    """
    bits = values.view(np.int32)
    index = np.empty(_BLOCK, np.int32)
    s1, s2, s3, s4 = np.empty(_BLOCK), np.empty(_BLOCK), np.empty(_BLOCK), np.empty(_BLOCK)
    low, high = np.empty(_BLOCK, np.float32), np.empty(_BLOCK, np.float32)
    peak, peak_at = np.empty(_BLOCK, np.float32), np.empty(_BLOCK, np.int32)
    infinity = np.float32(np.inf)
    for block in range(first, last, _BLOCK):
        n = min(_BLOCK, last - block)
        for i in range(n):
            s1[i] = s2[i] = s3[i] = s4[i] = 0.0
            low[i], high[i] = extremes[block + i, 0], extremes[block + i, 1]
        for b in range(values.shape[0]):
            for i in range(n):
                peak[i] = -infinity
                peak_at[i] = 0
            for t in range(1, lengths[b]):
                for i in range(n):
                    word = bits[b, t, block + i]
                    magnitude = word & np.int32(0x7FFFFFFF)
                    offset = (magnitude >> np.int32(20)) - np.int32(FIRST_KEY)
                    offset = min(max(offset, np.int32(-1)), np.int32(N_SIDE)) + np.int32(2)
                    offset = np.int32(0) if magnitude == 0 else offset
                    signed = np.int32(ZERO) - offset if word < 0 else np.int32(ZERO) + offset
                    finite = magnitude < np.int32(0x7F800000)
                    index[i] = signed if finite else np.int32(-1)
                    x = values[b, t, block + i]
                    y = np.float64(x) if finite else 0.0
                    y2 = y * y
                    s1[i] += y
                    s2[i] += y2
                    s3[i] += y2 * y
                    s4[i] += y2 * y2
                    down = x if finite else infinity
                    up = x if finite else -infinity
                    low[i] = down if down < low[i] else low[i]
                    high[i] = up if up > high[i] else high[i]
                    peak_at[i] = np.int32(t) if up > peak[i] else peak_at[i]
                    peak[i] = up if up > peak[i] else peak[i]
                for i in range(n):
                    if index[i] >= 0:
                        counts[block + i, index[i]] += 1
                    else:
                        x = values[b, t, block + i]
                        odd[block + i, 0 if x != x else 1] += 1
            for i in range(n):
                best[b, block + i] = peak[i]
                best_at[b, block + i] = peak_at[i]
        for i in range(n):
            sums[block + i, 0] += s1[i]
            sums[block + i, 1] += s2[i]
            sums[block + i, 2] += s3[i]
            sums[block + i, 3] += s4[i]
            extremes[block + i, 0], extremes[block + i, 1] = low[i], high[i]


@_jit
def before(value, document, position, other_value, other_document, other_position):  # type: ignore[no-untyped-def]
    """Whether an example ranks before another: higher value, then earlier document, then earlier token."""
    if value != other_value:
        return value > other_value
    if document != other_document:
        return document < other_document
    return position < other_position


@_jit
def offer(  # type: ignore[no-untyped-def]
    best, best_at, first, last, documents, starts, tokens, lengths, acts,
    value, document, position, context_start, peak, length, window, levels, n_before, n_after,
):  # fmt: skip
    """Offer each context's peak to its neuron's K best examples, at most one a document.

    The K best documents by (value, document, position) are kept exactly: a document outside the list
    enters when its own best example ranks before the last of the list, and only then.

    Args:
        best, best_at: `[B, M]` as `scan` left them.
        first, last: neurons to work on.
        documents, starts: `[B]` int64, each context's document and first token in it.
        tokens: `[B, T]` int32. lengths: `[B]`.
        acts: `[H, B, T, M]` float32, the hooks whose windows are kept with an example.
        value, document, position, context_start, peak, length: `[M, K]`, the lists, best first.
        window: `[M, K, W]` int32 tokens. levels: `[H, M, K, W]` float32 activations.
        n_before, n_after: tokens of the window around the peak.
    """
    n_kept = value.shape[1]
    for b in range(best.shape[0]):
        for j in range(first, last):
            x = best[b, j]
            if x == -np.inf:
                continue
            at = best_at[b, j]
            where = starts[b] + at - 1
            k_last = n_kept - 1
            if document[j, k_last] >= 0 and not before(
                x, documents[b], where, value[j, k_last], document[j, k_last], position[j, k_last]
            ):
                continue
            # The slot to give up: this document's own, or the last.
            slot = k_last
            for k in range(n_kept):
                if document[j, k] == documents[b]:
                    slot = k
                    break
            if document[j, slot] == documents[b] and not before(
                x, documents[b], where, value[j, slot], document[j, slot], position[j, slot]
            ):
                continue
            k = slot
            while k > 0 and (
                document[j, k - 1] < 0
                or before(x, documents[b], where, value[j, k - 1], document[j, k - 1], position[j, k - 1])
            ):
                value[j, k] = value[j, k - 1]
                document[j, k] = document[j, k - 1]
                position[j, k] = position[j, k - 1]
                context_start[j, k] = context_start[j, k - 1]
                peak[j, k] = peak[j, k - 1]
                length[j, k] = length[j, k - 1]
                window[j, k] = window[j, k - 1]
                levels[:, j, k] = levels[:, j, k - 1]
                k -= 1
            low = max(at - n_before, 1)  # the BOS is in no window: its activation is no example's
            high = min(at + n_after + 1, lengths[b])
            value[j, k] = x
            document[j, k] = documents[b]
            position[j, k] = where
            context_start[j, k] = starts[b]
            peak[j, k] = at - low
            length[j, k] = high - low
            for t in range(low, high):
                window[j, k, t - low] = tokens[b, t]
                for h in range(acts.shape[0]):
                    levels[h, j, k, t - low] = acts[h, b, t, j]
