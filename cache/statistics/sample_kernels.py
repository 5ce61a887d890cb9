"""Compiled loops that choose the tokens in the samples of a neuron's ranges of activation.

Nearly every token enters no sample. `update_cutoffs` gives each neuron one value and one priority, its
cutoffs, by which the scan skips most of these tokens with two comparisons; `offer_tokens` examines the rest,
the candidates. Definitions: `ranges`, `identity.priority`.
"""

import numpy as np
import numpy.typing as npt

from cache.format.histogram import N_BINS, ZERO
from cache.statistics.example_kernels import raise_base, record, slot_for, worst_score
from cache.statistics.identity import MIX_1, MIX_2
from cache.statistics.jit import compiled, inlined
from cache.statistics.ranges import FIRST_TRACKED, LOW, N_LISTS, N_TRACKED, NOT_POSITIVE

BLOCK = 128
"""Neurons that a scan processes together; cutoffs and 16-bit counters are laid out in such blocks."""

BIN_SHIFT, TOKEN_SHIFT = 48, 32
"""A candidate is 64 bits: bin (from bit 48), position (16 bits, from bit 32) and neuron (32 bits)."""

KEYS, COMMON, RARE, NUMBERS, N_CUTOFFS = 0, 1, 2, 3, 4
"""Rows of a block's cutoffs, see `initial_cutoffs`."""

_ALL = np.float64(2.0**32)
_LOW_HALF, _LOW_QUARTER = np.uint64(0xFFFFFFFF), np.uint64(0xFFFF)


@inlined
def priority_half(token_half, neuron_half):  # type: ignore[no-untyped-def]
    """Return one half of a token's priority for a neuron, 32 bits, as `identity.priority` defines it."""
    x = np.uint32(token_half ^ neuron_half)
    x = np.uint32(x * np.uint32(MIX_1))
    x = np.uint32(x ^ (x >> np.uint32(15)))
    return np.uint32(x * np.uint32(MIX_2))


@inlined
def list_of(index, base):  # type: ignore[no-untyped-def]
    """Return the list of a bin, given the lowest tracked bin; N_LISTS for bins above the tracked ones."""
    if index <= ZERO:
        return NOT_POSITIVE
    above = np.int64(index) - np.int64(base)
    return min(max(above, np.int64(-1)), np.int64(N_TRACKED)) + np.int64(FIRST_TRACKED)


@compiled
def offer_token(  # type: ignore[no-untyped-def]
    index,
    t,
    j,
    chance,
    acts,
    hook,
    column,
    origin,
    context,
    base,
    limit,
    lists,
    neuron_key,
    n_before,
    n_after,
):
    """Put a token into the sample of its bin, if its whole priority is low enough.

    Args:
        index: its bin, see `cache.format.histogram`.
        t: its position in the context.
        j: the neuron.
        chance: high half of its priority.
        acts, column, origin: as in `example_kernels.record`.
        hook: index in `acts` of the hook that is sampled.
        neuron_key: of j, see `identity.neuron_keys`.
        context, base, limit, lists, n_before, n_after: as in `offer_tokens`.
    """
    if not abs(acts[hook][np.uintp(t - origin), np.uintp(column)]) < np.inf:
        return
    if index > np.int64(base[j]) + N_TRACKED - 1:
        raise_base(lists, limit, base, j, index - N_TRACKED + 1)
    own = list_of(index, base[j])
    if chance > limit[j, own]:
        return
    i = j * N_LISTS + own
    key = context.hashes[t]
    score = np.uint64(chance) << np.uint64(32) | np.uint64(
        priority_half(np.uint32(key & np.uint64(0xFFFFFFFF)), np.uint32(neuron_key & np.uint64(0xFFFFFFFF)))
    )
    k = slot_for(lists, i, score, key, context.document, context.start + t - 1)
    if k >= 0:
        record(lists, i, k, score, key, context, acts, column, origin, t, n_before, n_after)
        limit[j, own] = worst_score(lists, i) >> np.uint64(32)


@compiled
def offer_tokens(  # type: ignore[no-untyped-def]
    candidates, n, first, last, acts, hook, context, base, limit, lists, neuron_keys, n_before, n_after
):
    """Offer the candidates that a scan found to the samples of neurons `first` to before `last`.

    Args:
        candidates: `[n]` uint64, as `scan_kernels.scan` wrote them.
        n: their number.
        first, last: neurons whose lists may be changed; candidates of other neurons are skipped.
        acts: for each hook `[T, M]` float32.
        hook: index in `acts` of the hook that is sampled.
        context: an `accumulator.PreparedContext`.
        base: `[M]` int32, the lowest tracked bin, see `ranges`.
        limit: `[M, N_LISTS + 1]` uint32: a token can enter a list only if the high half of its priority is
            at most this. The last column is for bins above the tracked ones and lets everything through.
        lists: the samples, `N_LISTS` lists for each neuron.
        neuron_keys: `[M]` uint64, see `identity.neuron_keys`.
        n_before, n_after: tokens to keep before and after the sampled one.
    """
    for k in range(n):
        j = np.int64(candidates[k] & _LOW_HALF)
        if j < first or j >= last:
            continue
        t = np.int64((candidates[k] >> np.uint64(TOKEN_SHIFT)) & _LOW_QUARTER)
        index = np.int64(candidates[k] >> np.uint64(BIN_SHIFT))
        chance = priority_half(
            np.uint32(context.hashes[t] >> np.uint64(32)), np.uint32(neuron_keys[j] >> np.uint64(32))
        )
        if chance <= limit[j, list_of(index, base[j])]:
            offer_token(
                index, t, j, chance, acts, hook, j, 0, context, base, limit, lists, neuron_keys[j],
                n_before, n_after,
            )  # fmt: skip


def initial_cutoffs(neuron_keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint32]:
    """Return the cutoffs of a layer before `update_cutoffs` has set them, `[n_blocks, N_CUTOFFS * BLOCK]`.

    Each block of neurons has four rows:
    - KEYS: high halves of the neurons' keys.
    - COMMON: the highest priority at which a token of any value may enter a sample.
    - RARE: bits of the value, less one, from which a token of any priority may enter a sample.
    - NUMBERS: 0 to BLOCK - 1.

    Places beyond the last neuron hold cutoffs that let almost nothing through.
    """
    cutoffs = np.zeros((-(-len(neuron_keys) // BLOCK), N_CUTOFFS, BLOCK), np.uint32)
    keys = np.zeros(len(cutoffs) * BLOCK, np.uint32)
    keys[: len(neuron_keys)] = neuron_keys >> np.uint64(32)
    cutoffs[:, KEYS] = keys.reshape(-1, BLOCK)
    cutoffs[:, RARE] = np.float32(np.inf).view(np.uint32)
    cutoffs[:, NUMBERS] = np.arange(BLOCK)
    return cutoffs.reshape(len(cutoffs), -1)


@compiled
def update_cutoffs(first, last, base, limit, edges, cutoffs):  # type: ignore[no-untyped-def]
    """Set the cutoffs of neurons so that few tokens pass that enter no sample.

    A token whose value is below RARE and whose priority is above COMMON enters no sample: COMMON is the
    highest limit of all lists for values below RARE. RARE is chosen where the fewest tokens pass. How often
    a list's values occur follows from its limit: a full list of K of n tokens closes at about K / n.

    Cutoffs stay correct while samples fill, if not the best: limits only fall, and a bin that is no longer
    tracked joins a list whose limit falls with it. A neuron's two cutoffs belong together, so write to a
    copy that no other thread reads.

    Args:
        first, last: neurons to set, from `first` to before `last`.
        base: `[M]`, as in `offer_tokens`.
        limit: `[M, N_LISTS + 1]`, as in `offer_tokens`.
        edges: `[N_BINS + 1]` float32, edges of the histogram's bins.
        cutoffs: written, see `initial_cutoffs`.
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
        for k in range(N_TRACKED + 1):  # the lowest k tracked bins are below RARE
            share = np.float64(bound) / _ALL + above / total  # about the share of tokens that pass
            if share < best:
                best = share
                rare = np.float32(edges[min(base[j] + k, N_BINS)])
                cutoffs[j // BLOCK, COMMON * BLOCK + j % BLOCK] = bound
                cutoffs[j // BLOCK, RARE * BLOCK + j % BLOCK] = rare.view(np.uint32) - np.uint32(1)
            if k < N_TRACKED:
                above -= _ALL / (np.float64(limit[j, FIRST_TRACKED + k]) + 1.0)
                bound = max(bound, limit[j, FIRST_TRACKED + k])
