"""Compiled: what enters a list of `kept`, and where.

Every function releases the GIL. Definitions: `identity`, `ranges`, tests/test_cache.
"""

import numpy as np

from cache.statistics.identity import FINGERPRINT_AFTER, FINGERPRINT_BEFORE
from cache.statistics.jit import compiled, inlined
from cache.statistics.ranges import FIRST_TRACKED, LOW, N_LISTS


@inlined
def ascending(x):  # type: ignore[no-untyped-def]
    """A finite float32 as an unsigned integer in the same order; both zeros are one."""
    bits = np.int64(np.float32(x + np.float32(0.0)).view(np.int32))
    return np.uint64(bits + 0x80000000) if bits >= 0 else np.uint64(0x7FFFFFFF - (bits & 0x7FFFFFFF))


@inlined
def fingerprint(tokens, at):  # type: ignore[no-untyped-def]
    """What makes two examples near-identical, see `identity.fingerprint`."""
    h = np.uint64(0xCBF29CE484222325)
    for t in range(max(at - FINGERPRINT_BEFORE, 1), min(at + FINGERPRINT_AFTER + 1, len(tokens))):
        h = (h ^ np.uint64(tokens[t] + 1)) * np.uint64(0x100000001B3)
    return h


@compiled
def record(kept, i, k, score, key, context, acts, column, origin, at, n_before, n_after):  # type: ignore[no-untyped-def]
    """Write the example around token `at` of a context to slot k of list i.

    Args:
        acts: of each hook rows of activations, the first of them token `origin`'s.
        column: of them, the example's neuron.
    """
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
    # A column of the activations is read once: neighbours in it are a row apart, each a line of memory.
    window = np.empty(high - low, np.float32)
    row = np.uintp(low - origin)  # unsigned: no index is wrapped around
    for h in range(len(acts)):
        values = acts[h]
        for t in range(high - low):
            window[t] = values[row + np.uintp(t), np.uintp(column)]
        kept.value[i, k, h] = window[at - low]
        bottom, top = np.float32(np.inf), np.float32(-np.inf)
        for x in window:
            if np.isfinite(x):
                bottom, top = min(bottom, x), max(top, x)
        if bottom > top:
            bottom = top = np.float32(0.0)
        kept.low[i, k, h], kept.high[i, k, h] = bottom, top
        span = np.float64(top) - np.float64(bottom)
        scale = 255.0 / span if span > 0 else 0.0
        for t in range(high - low):
            x = np.float64(window[t])
            x = 0.0 if x != x else min(max(x, np.float64(bottom)), np.float64(top))
            kept.levels[i, k, h, t] = np.uint8(min(max(np.rint((x - bottom) * scale), 0.0), 255.0))


@compiled
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


@inlined
def _before(score, document, position, other_score, other_document, other_position):  # type: ignore[no-untyped-def]
    """Whether an example ranks before another: lower score, then earlier document, then earlier token."""
    if score != other_score:
        return score < other_score
    if document != other_document:
        return document < other_document
    return position < other_position


@compiled
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


@compiled
def worst_score(kept, i):  # type: ignore[no-untyped-def]
    """The highest score that could still enter list i."""
    worst = np.uint64(0)
    for k in range(kept.score.shape[1]):
        if kept.length[i, k] == 0:
            return np.uint64(0xFFFFFFFFFFFFFFFF)
        worst = max(worst, kept.score[i, k])
    return worst


@compiled
def raise_top(kept, limit, base, neuron, new_base):  # type: ignore[no-untyped-def]
    """Follow a new maximum: bins that fall out of the tracked ones join the list LOW.

    Args:
        kept: lists `N_LISTS` a neuron. base: `[M]` int32.
        limit: `[M, N_LISTS + 1]` uint32, see `sampling_kernels.admit`.
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


@compiled
def note_peaks(acts, hook, context, extremes, sign, limit, pending, n_before, n_after):  # type: ignore[no-untyped-def]
    """Remember a context's peak where it is its document's best so far and could enter the list.

    Args:
        acts: of each hook `[T, M]` float32. hook: of them, the one that is ranked.
        context: a `Sequence` of `accumulate`. extremes: `[2, M]`, as `kernels.scan` left them.
        sign: 1 for the highest values, -1 for the lowest.
        limit: `[M]` uint64, the worst score that could still enter each neuron's list.
        pending: one slot a neuron, the document's best.
    """
    for j in range(len(limit)):
        x = extremes[1, j] if sign > 0 else extremes[0, j]
        if not np.isfinite(x):
            continue
        score = ascending(-x) if sign > 0 else ascending(x)
        if score > limit[j] or (pending.length[j, 0] != 0 and score >= pending.score[j, 0]):
            continue
        at = 1
        while acts[hook][at, j] != x:
            at += 1
        key = fingerprint(context.tokens, at)
        record(pending, j, 0, score, key, context, acts, j, 0, at, n_before, n_after)


@compiled
def settle_peaks(first, last, limit, pending, kept):  # type: ignore[no-untyped-def]
    """At a document's end, offer the best of neurons `first` to `last` to their lists, as in `note_peaks`."""
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
