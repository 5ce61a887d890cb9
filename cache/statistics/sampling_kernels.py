"""Compiled: which tokens enter the samples of a neuron's ranges of activation.

Nearly every token enters none. `tune` gives each neuron one value and one priority that tell most of those
apart at a glance; `consider` looks at the others. Definitions: `ranges`, `identity`.
"""

import numpy as np

from cache.format.histogram import N_BINS, ZERO
from cache.statistics.identity import MIX_1, MIX_2
from cache.statistics.jit import compiled, inlined
from cache.statistics.list_kernels import raise_top, record, slot_for, worst_score
from cache.statistics.ranges import FIRST_TRACKED, LOW, N_LISTS, N_TRACKED, NOT_POSITIVE

_ALL = np.float64(2.0**32)


@inlined
def priority_half(token_half, neuron_half):  # type: ignore[no-untyped-def]
    """32 bits of a token's sampling priority for a neuron, see `identity.priority`."""
    x = np.uint32(token_half ^ neuron_half)
    x = np.uint32(x * np.uint32(MIX_1))
    x = np.uint32(x ^ (x >> np.uint32(15)))
    return np.uint32(x * np.uint32(MIX_2))


@inlined
def slot_of(index, base):  # type: ignore[no-untyped-def]
    """The list of a bin, for a neuron whose first tracked one is `base`; N_LISTS above the tracked ones."""
    if index <= ZERO:
        return NOT_POSITIVE
    above = np.int64(index) - np.int64(base)
    return min(max(above, np.int64(-1)), np.int64(N_TRACKED)) + np.int64(FIRST_TRACKED)


@compiled
def consider(  # type: ignore[no-untyped-def]
    index, t, j, chance, acts, hook, column, origin, context, base, limit, kept, neuron_key, n_before, n_after
):
    """Let a token into the sample of its bin, if its whole priority is low enough.

    Args:
        index: the bin, see `cache.format.histogram`. t: the token. j: the neuron.
        chance: its priority's high half.
        acts, column, origin: as in `list_kernels.record`. hook: of them, the one that is sampled.
        neuron_key: of j. The others are those of `kernels.scan`.
    """
    if not abs(acts[hook][np.uintp(t - origin), np.uintp(column)]) < np.inf:
        return
    if index > np.int64(base[j]) + N_TRACKED - 1:
        raise_top(kept, limit, base, j, index - N_TRACKED + 1)
    slot = slot_of(index, base[j])
    if chance > limit[j, slot]:
        return
    which = j * N_LISTS + slot
    key = context.hashes[t]
    score = np.uint64(chance) << np.uint64(32) | np.uint64(
        priority_half(np.uint32(key & np.uint64(0xFFFFFFFF)), np.uint32(neuron_key & np.uint64(0xFFFFFFFF)))
    )
    k = slot_for(kept, which, score, key, context.document, context.start + t - 1)
    if k >= 0:
        record(kept, which, k, score, key, context, acts, column, origin, t, n_before, n_after)
        limit[j, slot] = worst_score(kept, which) >> np.uint64(32)


@compiled
def tune(first, last, base, limit, edges, common, rare):  # type: ignore[no-untyped-def]
    """Set `common` and `rare` so that few tokens pass that enter no sample.

    A token whose value is below `rare` and whose priority is above `common` enters nothing: `common` is the
    highest limit of all lists for values below `rare`. Which of them to leave above it is chosen by what
    passes: a full list of K of n tokens closes at about K / n, so its limit tells how often its values come.
    What was set stays right, if not the best, while samples fill: limits fall, and a bin that falls out
    of the tracked ones joins a list whose limit falls with it.

    Args:
        first, last: neurons to set.
        base: `[M]`. limit: `[M, N_LISTS + 1]`, both as in `kernels.scan`.
        edges: `[N_BINS + 1]` float32, of the histogram's bins.
        common: `[M]` uint32. rare: `[M]` float32.
    """
    for j in range(first, last):
        total = 0.0
        for k in range(N_LISTS):
            total += _ALL / (np.float64(limit[j, k]) + 1.0)
        bound = max(limit[j, NOT_POSITIVE], limit[j, LOW])
        above = 0.0
        for k in range(FIRST_TRACKED, N_LISTS):
            above += _ALL / (np.float64(limit[j, k]) + 1.0)
        best = np.inf
        for k in range(N_TRACKED + 1):  # the first k tracked bins are common
            passing = np.float64(bound) / _ALL + above / total
            if passing < best:
                best = passing
                common[j], rare[j] = bound, edges[min(base[j] + k, N_BINS)]
            if k < N_TRACKED:
                above -= _ALL / (np.float64(limit[j, FIRST_TRACKED + k]) + 1.0)
                bound = max(bound, limit[j, FIRST_TRACKED + k])
