"""The statistics of one layer while documents are added, and the slices of it that threads lock.

Memory depends on the sizes of the model alone.
"""

from dataclasses import dataclass
from threading import Lock
from typing import Protocol

import numpy as np
import numpy.typing as npt

from cache.format.histogram import bin_edges
from cache.statistics import exact_sum, ranges, sample_kernels, scan_kernels
from cache.statistics.example_lists import NO_LIMIT, ExampleLists
from cache.statistics.hook import HookStatistics, StatisticsOptions
from cache.statistics.identity import neuron_keys
from cache.statistics.sample_kernels import BLOCK
from cache.statistics.token_totals import GRID_BITS

N_STRIPES = 16
"""Parts of the vocabulary, by token modulo 16; a thread locks some of them to add to their totals."""
_FIRST_UPDATE = 1024
"""Tokens of a layer after which its cutoffs are updated for the first time."""
_UPDATE_GROWTH = 1.15
"""Growth of the number of tokens from one update to the next: limits fall as 1 / tokens."""
_MASS_TOP = 2.0**26
"""Largest sum of activation above 0 that a context adds to its source (docs/cache_format.md, Numbers)."""
_EDGES = bin_edges().astype(np.float32)


class Flushable(Protocol):
    """An accumulator that holds back some of a layer's statistics (`cache.statistics.accumulator`)."""

    def flush(self) -> None:
        """Add them to the layer's."""


class LayerStatistics:
    """The statistics of one layer at each of its hooks, with all that only a running build needs.

    Args:
        hooks: statistics to continue from, in the order in which activations are given.
        seed: of the samples.
        layer: mixed into the seed.
        options: how much to keep.
        n_threads: threads that will add documents at the same time.
    """

    def __init__(
        self,
        hooks: list[HookStatistics],
        *,
        seed: int,
        layer: int,
        options: StatisticsOptions,
        n_threads: int = 1,
    ) -> None:
        self.hooks, self.options = hooks, options
        self.d_mlp = len(hooks[0].counts)
        self.keys = neuron_keys(seed, layer, self.d_mlp)
        self.limits = [SampleLimits.of(hook, self.keys) for hook in hooks]
        self.accumulators: list[Flushable] = []
        self.on_device = False
        """True once a `DeviceAccumulator` adds to the layer; it must be the only accumulator."""
        self.lock = Lock()
        """Lock of counts, sums and extremes; each slice has its own lock."""
        self.spans = [
            NeuronSpan(first, self.d_mlp, n_threads) for first in range(0, self.d_mlp, scan_kernels.SPAN)
        ]
        n_slices = min(n_threads, N_STRIPES)
        self.stripes = [
            LockedSlice(i * N_STRIPES // n_slices, (i + 1) * N_STRIPES // n_slices) for i in range(n_slices)
        ]
        self._n_tokens, self._next_update = 0, _FIRST_UPDATE

    def flush(self) -> None:
        """Add all that accumulators hold back to `hooks`; none of them may be running."""
        for accumulator in self.accumulators:
            accumulator.flush()

    def note_progress(self, n_tokens: int) -> None:
        """Count tokens that are about to be added, and update the cutoffs from time to time.

        Called without a lock. If two threads race, one of them may use older cutoffs, which only let more
        tokens through than necessary.
        """
        self._n_tokens += n_tokens
        if self._n_tokens <= self._next_update:
            return
        self._next_update = int(self._n_tokens * _UPDATE_GROWTH)
        for hook, limits in zip(self.hooks, self.limits, strict=True):
            fresh = limits.cutoffs.copy()  # other threads continue to read the old ones
            for span in self.spans:
                for part in span.slices:
                    with part.lock:
                        limits.update_cutoffs(part.first, part.last, hook.base, fresh)
            limits.cutoffs = fresh

    def add_sums(
        self,
        index: int,
        sums: npt.NDArray[np.float64],
        extremes: npt.NDArray[np.float32],
        sources: list[int],
    ) -> None:
        """Add the sums and extremes of N contexts at one hook; for one thread at a time.

        Args:
            index: of the hook.
            sums: `[N, 5, M]`, see `scan_kernels.scan`.
            extremes: `[N, 2, M]`, lowest and highest values.
            sources: `[N]` rows of `source_mass`, -1 to add to none.
        """
        hook = self.hooks[index]
        exact_sum.add(hook.power_sums, sums)
        hook.extremes[0] = np.minimum(hook.extremes[0], extremes[:, 0].min(0))
        hook.extremes[1] = np.maximum(hook.extremes[1], extremes[:, 1].max(0))
        for source, positive in zip(sources, sums[:, 4], strict=True):
            if source >= 0:
                # Rounded to the grid before it is added, so that the order of contexts cannot matter.
                mass = np.minimum(positive, _MASS_TOP)
                hook.source_mass[source] += np.rint(mass * 2.0**GRID_BITS).astype(np.int64)


class LockedSlice:
    """Neurons, or stripes of the vocabulary, from `first` to before `last`, and the lock of their lists."""

    def __init__(self, first: int, last: int) -> None:
        self.first, self.last = first, last
        self.lock = Lock()


class NeuronSpan:
    """Neurons that one call of `scan_kernels.scan` takes, and the slices in which their lists are locked.

    Args:
        first: neuron, a multiple of `scan_kernels.SPAN`.
        d_mlp: neurons of the layer.
        n_threads: about the number of slices, each of whole blocks.
    """

    def __init__(self, first: int, d_mlp: int, n_threads: int) -> None:
        self.first, self.last = first, min(first + scan_kernels.SPAN, d_mlp)
        n_blocks = -(-(self.last - first) // BLOCK)
        step = max(1, n_blocks // n_threads) * BLOCK
        self.slices = [LockedSlice(i, min(i + step, self.last)) for i in range(first, self.last, step)]


@dataclass
class SampleLimits:
    """The worst score that can still enter each list, so that the loops can skip all others."""

    ranges: npt.NDArray[np.uint32]
    """`[M, N_LISTS + 1]` high halves of priorities; the last column lets everything through."""
    cutoffs: npt.NDArray[np.uint32]
    """See `sample_kernels.initial_cutoffs`. Replaced and never written to, since threads read it unlocked."""
    top: npt.NDArray[np.uint64]
    """`[M]`, for the lists of strongest examples; `bottom` is for those of weakest examples."""
    bottom: npt.NDArray[np.uint64]

    @classmethod
    def of(cls, hook: HookStatistics, keys: npt.NDArray[np.uint64]) -> "SampleLimits":
        """Return the limits of the lists of a hook; `keys` `[M]` are those of `identity.neuron_keys`."""
        n = len(hook.base)
        worst = _worst_scores(hook.ranges).reshape(n, ranges.N_LISTS) >> np.uint64(32)
        no_limit = np.full((n, 1), 0xFFFFFFFF, dtype=np.uint64)
        limits = cls(
            ranges=np.concatenate([worst, no_limit], axis=1).astype(np.uint32),
            cutoffs=sample_kernels.initial_cutoffs(keys),
            top=_worst_scores(hook.top),
            bottom=_worst_scores(hook.bottom),
        )
        limits.update_cutoffs(0, n, hook.base, limits.cutoffs)
        return limits

    def update_cutoffs(
        self, first: int, last: int, base: npt.NDArray[np.int32], cutoffs: npt.NDArray[np.uint32]
    ) -> None:
        """Write to `cutoffs` the best ones for the present limits of neurons `first` to before `last`."""
        sample_kernels.update_cutoffs(first, last, base, self.ranges, _EDGES, cutoffs)


def _worst_scores(lists: ExampleLists) -> npt.NDArray[np.uint64]:
    full = (lists.length > 0).all(axis=1)  # a list with a free slot takes any example
    return np.where(full, lists.score.max(axis=1), NO_LIMIT)
