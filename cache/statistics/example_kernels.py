"""Compiled loops that put examples into `example_lists.ExampleLists`.

Every function releases the GIL. Definitions: `identity`, `ranges`, and the brute force of
tests/test_cache/statistics/test_sampling.py.
"""

import numpy as np

from cache.statistics.identity import FINGERPRINT_AFTER, FINGERPRINT_BEFORE
from cache.statistics.jit import compiled, inlined
from cache.statistics.ranges import FIRST_TRACKED, LOW, N_LISTS


@inlined
def ascending(x):  # type: ignore[no-untyped-def]
    """Return a finite float32 as an unsigned integer of the same order; both zeros give the same one."""
    bits = np.int64(np.float32(x + np.float32(0.0)).view(np.int32))
    return np.uint64(bits + 0x80000000) if bits >= 0 else np.uint64(0x7FFFFFFF - (bits & 0x7FFFFFFF))


@inlined
def fingerprint(tokens, at):  # type: ignore[no-untyped-def]
    """Return the hash that near-identical examples share, as `identity.fingerprint` defines it."""
    h = np.uint64(0xCBF29CE484222325)
    for t in range(max(at - FINGERPRINT_BEFORE, 1), min(at + FINGERPRINT_AFTER + 1, len(tokens))):
        h = (h ^ np.uint64(tokens[t] + 1)) * np.uint64(0x100000001B3)
    return h


@compiled
def record(lists, i, k, score, key, context, acts, column, origin, at, n_before, n_after):  # type: ignore[no-untyped-def]
    """Write the example around a token of a context to slot k of list i.

    Args:
        lists: written to, as in `slot_for`.
        score, key: of the example, see `example_lists`.
        context: an `accumulator.PreparedContext`.
        acts: for each hook `[., .]` float32, rows of activations of consecutive tokens.
        column: the example's neuron, as a column of `acts`.
        origin: position in the context of the first row of `acts`.
        at: position in the context of the example's token.
        n_before, n_after: tokens to keep before and after it, within the context.
    """
    length = len(context.tokens)
    low = max(at - n_before, 1)  # without the BOS, which is counted nowhere
    high = min(at + n_after + 1, length)
    lists.score[i, k] = score
    lists.key[i, k] = key
    lists.document[i, k] = context.document
    lists.position[i, k] = context.start + at - 1
    lists.start[i, k] = context.start
    lists.peak[i, k] = at - low
    lists.length[i, k] = high - low
    for t in range(low, high):
        lists.tokens[i, k, t - low] = context.tokens[t]
    # The column is read once, into `window`: each of its values is in another line of memory.
    window = np.empty(high - low, np.float32)
    row = np.uintp(low - origin)  # unsigned, as in scan_kernels
    for h in range(len(acts)):
        values = acts[h]
        for t in range(high - low):
            window[t] = values[row + np.uintp(t), np.uintp(column)]
        lists.value[i, k, h] = window[at - low]
        bottom, top = np.float32(np.inf), np.float32(-np.inf)
        for x in window:
            if np.isfinite(x):
                bottom, top = min(bottom, x), max(top, x)
        if bottom > top:
            bottom = top = np.float32(0.0)
        lists.low[i, k, h], lists.high[i, k, h] = bottom, top
        span = np.float64(top) - np.float64(bottom)
        scale = 255.0 / span if span > 0 else 0.0
        for t in range(high - low):
            x = np.float64(window[t])
            x = 0.0 if x != x else min(max(x, np.float64(bottom)), np.float64(top))
            lists.levels[i, k, h, t] = np.uint8(min(max(np.rint((x - bottom) * scale), 0.0), 255.0))


@compiled
def copy_record(source, i, a, target, j, b):  # type: ignore[no-untyped-def]
    """Copy slot a of list i of `source` to slot b of list j of `target`."""
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
    """Return True if an example ranks before another: by score, then document, then position."""
    if score != other_score:
        return score < other_score
    if document != other_document:
        return document < other_document
    return position < other_position


@compiled
def slot_for(lists, i, score, key, document, position):  # type: ignore[no-untyped-def]
    """Return the slot of list i for an example: that of its key, a free one, or the worst; -1 for none.

    Args:
        lists: an `example_lists.ExampleLists`.
        score, key, document, position: of the example.
    """
    worst = -1
    for k in range(lists.score.shape[1]):
        if lists.length[i, k] == 0:  # a free slot, but a later slot may hold the same key
            if worst < 0 or lists.length[i, worst] != 0:
                worst = k
            continue
        if lists.key[i, k] == key:
            better = _before(
                score, document, position, lists.score[i, k], lists.document[i, k], lists.position[i, k]
            )
            return k if better else -1
        if worst < 0 or (
            lists.length[i, worst] != 0
            and _before(
                lists.score[i, worst], lists.document[i, worst], lists.position[i, worst],
                lists.score[i, k], lists.document[i, k], lists.position[i, k],
            )
        ):  # fmt: skip
            worst = k
    if lists.length[i, worst] == 0 or _before(
        score, document, position, lists.score[i, worst], lists.document[i, worst], lists.position[i, worst]
    ):
        return worst
    return -1


@compiled
def worst_score(lists, i):  # type: ignore[no-untyped-def]
    """Return the highest score that can still enter list i."""
    worst = np.uint64(0)
    for k in range(lists.score.shape[1]):
        if lists.length[i, k] == 0:
            return np.uint64(0xFFFFFFFFFFFFFFFF)
        worst = max(worst, lists.score[i, k])
    return worst


@compiled
def raise_base(lists, limit, base, neuron, new_base):  # type: ignore[no-untyped-def]
    """Track higher bins after a new maximum: the samples of the lowest tracked bins join the list LOW.

    `ranges.rebased` is the definition.

    Args:
        lists: `N_LISTS` for each neuron.
        limit: `[M, N_LISTS + 1]` uint32, updated, see `sample_kernels.offer_tokens`.
        base: `[M]` int32, updated.
        neuron: the one whose maximum rose.
        new_base: the lowest bin to track from now on, above `base[neuron]`.
    """
    by = new_base - base[neuron]
    first = neuron * N_LISTS
    # Upwards, so that no list is overwritten before it has moved.
    for old in range(FIRST_TRACKED, N_LISTS):
        new = old - by
        source, target = first + old, first + (new if new >= FIRST_TRACKED else LOW)
        for k in range(lists.score.shape[1]):
            if lists.length[source, k] == 0:
                continue
            if new >= FIRST_TRACKED:
                copy_record(lists, source, k, lists, target, k)
            else:
                slot = slot_for(
                    lists, target, lists.score[source, k], lists.key[source, k],
                    lists.document[source, k], lists.position[source, k],
                )  # fmt: skip
                if slot >= 0:
                    copy_record(lists, source, k, lists, target, slot)
            lists.length[source, k] = 0
    base[neuron] = new_base
    for slot in range(N_LISTS):
        limit[neuron, slot] = worst_score(lists, first + slot) >> np.uint64(32)


@compiled
def record_peaks(acts, hook, context, extremes, sign, limit, pending, n_before, n_after):  # type: ignore[no-untyped-def]
    """Record each neuron's peak in a context, if it is the document's best so far and can enter its list.

    Args:
        acts: for each hook `[T, M]` float32.
        hook: index in `acts` of the hook that is ranked.
        context: an `accumulator.PreparedContext`.
        extremes: `[2, M]`, lowest and highest values, from `scan_kernels`.
        sign: 1 for the highest values, -1 for the lowest.
        limit: `[M]` uint64, the worst score that can still enter each neuron's list.
        pending: lists of one slot, the document's best example of each neuron.
        n_before, n_after: tokens to keep before and after the peak.
    """
    for j in range(len(limit)):
        x = extremes[1, j] if sign > 0 else extremes[0, j]
        if not np.isfinite(x):
            continue
        score = ascending(-x) if sign > 0 else ascending(x)
        # Tested before any call that takes lists, which costs 250 ns: nearly all peaks end here.
        if score > limit[j] or (pending.length[j, 0] != 0 and score >= pending.score[j, 0]):
            continue
        at = 1  # the first token with the value: ties go to the earlier one
        while acts[hook][at, j] != x:
            at += 1
        key = fingerprint(context.tokens, at)
        record(pending, j, 0, score, key, context, acts, j, 0, at, n_before, n_after)


@compiled
def offer_peaks(first, last, limit, pending, lists):  # type: ignore[no-untyped-def]
    """Offer a document's best examples of neurons `first` to before `last` to their lists, at its end.

    Args:
        limit, pending: as in `record_peaks`; `pending` is emptied.
        lists: the layer's, one for each neuron.
    """
    for j in range(first, last):
        if pending.length[j, 0] == 0:
            continue
        slot = slot_for(
            lists, j, pending.score[j, 0], pending.key[j, 0], pending.document[j, 0], pending.position[j, 0]
        )
        if slot >= 0:
            copy_record(pending, j, 0, lists, j, slot)
            limit[j] = worst_score(lists, j)
        pending.length[j, 0] = 0
