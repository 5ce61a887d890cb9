"""Compiled: which tokens enter the samples of a neuron's ranges of activation.

Nearly every token enters none. `tune` gives each neuron one value and one priority, its bars, that tell most
of those apart at a glance; `admit` looks at the others. Definitions: `ranges`, `identity`.
"""

import numpy as np
import numpy.typing as npt

from cache.format.histogram import N_BINS, ZERO
from cache.statistics.identity import MIX_1, MIX_2
from cache.statistics.jit import compiled, inlined
from cache.statistics.list_kernels import raise_top, record, slot_for, worst_score
from cache.statistics.ranges import FIRST_TRACKED, LOW, N_LISTS, N_TRACKED, NOT_POSITIVE

BLOCK = 128
"""Neurons that pass together: what bars and small counters are laid out by, see `kernels.scan`."""

BINS_SHIFT, TOKEN_SHIFT = 48, 32
"""A token that may enter a sample, in 64 bits: its bin, its position and, below, its neuron."""

KEYS, COMMON, RARE, NUMBERS, N_BARS = 0, 1, 2, 3, 4
"""What a block's bars are, see `bars_of`."""

_ALL = np.float64(2.0**32)
_LOW_HALF, _LOW_QUARTER = np.uint64(0xFFFFFFFF), np.uint64(0xFFFF)


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
        neuron_key: of j. The others are those of `admit`.
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
def admit(  # type: ignore[no-untyped-def]
    passing, n, first, last, acts, hook, context, base, limit, kept, neuron_keys, n_before, n_after
):
    """Let those of n tokens that `kernels.scan` found into the samples of neurons `first` to `last`.

    Args:
        passing: `[n]` uint64, as scan wrote them.
        first, last: the neurons whose lists are worked on; tokens of others are passed over.
        acts: of each hook `[T, M]` float32. hook: of them, the one that is sampled.
        context: a `Sequence` of `accumulate`.
        base: `[M]` int32, the first tracked bin, see `ranges`.
        limit: `[M, N_LISTS + 1]` uint32: only a token whose priority's high half is at most this can enter;
            the last column is for bins above the tracked ones and lets everything through.
        kept: the samples, `N_LISTS` lists a neuron.
        neuron_keys: `[M]` uint64, see `identity`.
    """
    for k in range(n):
        j = np.int64(passing[k] & _LOW_HALF)
        if j < first or j >= last:
            continue
        t = np.int64((passing[k] >> np.uint64(TOKEN_SHIFT)) & _LOW_QUARTER)
        at = np.int64(passing[k] >> np.uint64(BINS_SHIFT))
        chance = priority_half(
            np.uint32(context.hashes[t] >> np.uint64(32)), np.uint32(neuron_keys[j] >> np.uint64(32))
        )
        if chance <= limit[j, slot_of(at, base[j])]:
            consider(
                at, t, j, chance, acts, hook, j, 0, context, base, limit, kept, neuron_keys[j],
                n_before, n_after,
            )  # fmt: skip


def bars_of(neuron_keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint32]:
    """The bars of a layer before `tune` has set them, `[n_blocks, N_BARS * BLOCK]`.

    Of each block of neurons: the high halves of their keys, the highest priorities that may enter wherever
    the value is, the bits of the values from which on all may, less one, and the numbers from 0. Beyond the
    last neuron next to nothing passes.
    """
    bars = np.zeros((-(-len(neuron_keys) // BLOCK), N_BARS, BLOCK), np.uint32)
    keys = np.zeros(len(bars) * BLOCK, np.uint32)
    keys[: len(neuron_keys)] = neuron_keys >> np.uint64(32)
    bars[:, KEYS] = keys.reshape(-1, BLOCK)
    bars[:, RARE] = np.float32(np.inf).view(np.uint32)
    bars[:, NUMBERS] = np.arange(BLOCK)
    return bars.reshape(len(bars), -1)


@compiled
def tune(first, last, base, limit, edges, bars):  # type: ignore[no-untyped-def]
    """Set bars so that few tokens pass that enter no sample.

    A token whose value is below RARE and whose priority is above COMMON enters nothing: COMMON is the
    highest limit of all lists for values below RARE. Which of them to leave above it is chosen by what
    passes: a full list of K of n tokens closes at about K / n, so its limit tells how often its values come.
    What was set stays right, if not the best, while samples fill: limits fall, and a bin that falls out
    of the tracked ones joins a list whose limit falls with it. One neuron's two go together: nobody may read
    them meanwhile.

    Args:
        first, last: neurons to set.
        base: `[M]`. limit: `[M, N_LISTS + 1]`, both as in `admit`.
        edges: `[N_BINS + 1]` float32, of the histogram's bins.
        bars: see `bars_of`.
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
                rare = np.float32(edges[min(base[j] + k, N_BINS)])
                bars[j // BLOCK, COMMON * BLOCK + j % BLOCK] = bound
                bars[j // BLOCK, RARE * BLOCK + j % BLOCK] = rare.view(np.uint32) - np.uint32(1)
            if k < N_TRACKED:
                above -= _ALL / (np.float64(limit[j, FIRST_TRACKED + k]) + 1.0)
                bound = max(bound, limit[j, FIRST_TRACKED + k])
