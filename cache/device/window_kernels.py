"""Compiled loops that put examples into lists from windows of activations, fetched from a device.

They decide as `sample_kernels.offer_tokens` and `example_kernels.record_peaks` do, and repeat the code of the
latter: a function that both call would make it ten times slower there (docs/log.md). A window is a column
that begins `n_before` tokens before the example's token; its rows outside the context are never read.
"""

import numpy as np

from cache.statistics.example_kernels import ascending, fingerprint, record
from cache.statistics.jit import compiled
from cache.statistics.sample_kernels import offer_token


@compiled
def offer_tokens(  # type: ignore[no-untyped-def]
    candidates, windows, hook, context, base, limit, lists, neuron_keys, n_before, n_after
):
    """Offer tokens to the samples of their neurons' ranges, in the order given.

    Args:
        candidates: `[4, C]` int64: position, neuron, high half of the priority and bin of each candidate.
        windows: `[H, W, C]` float32.
        hook, context, base, limit, lists, neuron_keys, n_before, n_after: as in
            `cache.statistics.sample_kernels.offer_tokens`.
    """
    for i in range(candidates.shape[1]):
        t, j = candidates[0, i], candidates[1, i]
        offer_token(
            candidates[3, i], t, j, np.uint32(candidates[2, i]), windows, hook, i, t - n_before, context,
            base, limit, lists, neuron_keys[j], n_before, n_after,
        )  # fmt: skip


@compiled
def select_peaks(extremes, sign, limit, pending):  # type: ignore[no-untyped-def]
    """Return the neurons whose peak is the document's best so far and can enter its list, `[C]` ascending.

    Args:
        extremes, sign, limit, pending: as in `cache.statistics.example_kernels.record_peaks`.
    """
    neurons = np.empty(len(limit), np.int64)
    n = 0
    for j in range(len(limit)):
        x = extremes[1, j] if sign > 0 else extremes[0, j]
        if not np.isfinite(x):
            continue
        score = ascending(-x) if sign > 0 else ascending(x)
        if score > limit[j] or (pending.length[j, 0] != 0 and score >= pending.score[j, 0]):
            continue
        neurons[n] = j
        n += 1
    return neurons[:n]


@compiled
def record_peaks(neurons, at, windows, context, extremes, sign, pending, n_before, n_after):  # type: ignore[no-untyped-def]
    """Record the peaks of neurons that `select_peaks` returned.

    Args:
        neurons: `[C]`.
        at: `[C]` positions of their peaks.
        windows: `[H, W, C]` float32.
        context, extremes, sign, pending, n_before, n_after: as in
            `cache.statistics.example_kernels.record_peaks`.
    """
    for i in range(len(neurons)):
        j, t = neurons[i], at[i]
        score = ascending(-extremes[1, j]) if sign > 0 else ascending(extremes[0, j])
        key = fingerprint(context.tokens, t)
        record(pending, j, 0, score, key, context, windows, i, t - n_before, t, n_before, n_after)
