"""Compiled: what enters the lists, from the few windows of activations that were fetched from a device.

The same decisions as in `scan` and `note_peaks` of `cache.statistics`, which say them again: a function that
both called would cost ten times the loop there (docs/log.md). A window is a column that begins `n_before`
tokens before the example's; rows outside of its context are never looked at.
"""

import numpy as np

from cache.statistics.jit import compiled
from cache.statistics.list_kernels import ascending, fingerprint, record
from cache.statistics.sampling_kernels import consider


@compiled
def sample(  # type: ignore[no-untyped-def]
    found, windows, hook, context, base, limit, kept, neuron_keys, n_before, n_after
):
    """Offer tokens to the samples of their neurons' ranges, in the order in which they come.

    Args:
        found: `[4, C]` int64: of each candidate the token, the neuron, its priority's high half, its bin.
        windows: `[H, W, C]` float32.
        The others are those of `cache.statistics.kernels.scan`.
    """
    for i in range(found.shape[1]):
        t, j = found[0, i], found[1, i]
        consider(
            found[3, i], t, j, np.uint32(found[2, i]), windows, hook, i, t - n_before, context, base, limit,
            kept, neuron_keys[j], n_before, n_after,
        )  # fmt: skip


@compiled
def peaks(extremes, sign, limit, pending):  # type: ignore[no-untyped-def]
    """Neurons whose peak is their document's best so far and could enter the list, `[C]` ascending.

    Args: those of `cache.statistics.list_kernels.note_peaks`.
    """
    found = np.empty(len(limit), np.int64)
    n = 0
    for j in range(len(limit)):
        x = extremes[1, j] if sign > 0 else extremes[0, j]
        if not np.isfinite(x):
            continue
        score = ascending(-x) if sign > 0 else ascending(x)
        if score > limit[j] or (pending.length[j, 0] != 0 and score >= pending.score[j, 0]):
            continue
        found[n] = j
        n += 1
    return found[:n]


@compiled
def note(neurons, at, windows, context, extremes, sign, pending, n_before, n_after):  # type: ignore[no-untyped-def]
    """Remember the peaks of neurons that `peaks` found.

    Args:
        neurons: `[C]`. at: `[C]` the tokens of their peaks. windows: `[H, W, C]` float32.
        The others are those of `cache.statistics.list_kernels.note_peaks`.
    """
    for i in range(len(neurons)):
        j, t = neurons[i], at[i]
        score = ascending(-extremes[1, j]) if sign > 0 else ascending(extremes[0, j])
        key = fingerprint(context.tokens, t)
        record(pending, j, 0, score, key, context, windows, i, t - n_before, t, n_before, n_after)
