"""One layer's statistics while documents are added to them, and what threads take one at a time.

Memory depends on the sizes of the model alone.
"""

from dataclasses import dataclass
from threading import Lock
from typing import Protocol

import numpy as np
import numpy.typing as npt

from cache.format.histogram import bin_edges
from cache.statistics import exact_sum, kernels, ranges, sampling_kernels
from cache.statistics.by_token import GRID_BITS
from cache.statistics.hook import HookStatistics, Keep
from cache.statistics.identity import neuron_keys
from cache.statistics.kept import NO_LIMIT, Kept
from cache.statistics.sampling_kernels import BLOCK

N_STRIPES = 16
"""Parts of the vocabulary, whose totals threads add to one at a time."""
_FIRST_TUNED = 1024  # tokens that a layer has seen before its limits are looked at again
_RETUNED = 1.15  # and how many times as many each time after
_MASS_TOP = 2.0**26
_EDGES = bin_edges().astype(np.float32)


class Holder(Protocol):
    """What holds some of a layer's statistics back for a while."""

    def settle(self) -> None:
        """Bring them into the layer's."""


class LayerAccumulator:
    """One layer's statistics at each of its hooks, with what only a running pass needs.

    Args:
        hooks: statistics to go on from, in the order of the activations' first axis.
        seed: of the samples.
        layer: mixed into the seed.
        keep: how much is kept.
        n_threads: threads that will add documents at the same time.
    """

    def __init__(
        self, hooks: list[HookStatistics], *, seed: int, layer: int, keep: Keep, n_threads: int = 1
    ) -> None:
        self.hooks, self.keep = hooks, keep
        self.d_mlp = len(hooks[0].counts)
        self.keys = neuron_keys(seed, layer, self.d_mlp)
        self.limits = [Limits.of(hook, self.keys) for hook in hooks]
        self.readers: list[Holder] = []
        self.on_device = False
        """A `cache.device.accumulate.DeviceReader` has it: nothing else adds to it."""
        self.lock = Lock()
        """Of counts, sums and extremes; parts have their own."""
        self.spans = [Span(first, self.d_mlp, n_threads) for first in range(0, self.d_mlp, kernels.SPAN)]
        n_parts = min(n_threads, N_STRIPES)
        self.stripes: list[Part] = [
            Part(i * N_STRIPES // n_parts, (i + 1) * N_STRIPES // n_parts) for i in range(n_parts)
        ]
        self._n_seen, self._n_tuned = 0, _FIRST_TUNED

    def settle(self) -> None:
        """Bring everything that readers still hold into `hooks`; none of them may be at work."""
        for reader in self.readers:
            reader.settle()

    def tune(self, n_tokens: int) -> None:
        """Note that so many tokens passed, and set the bars anew where it is time to.

        Which of two threads comes first is nothing: bars that are not the newest let more through.
        """
        self._n_seen += n_tokens
        if self._n_seen <= self._n_tuned:
            return
        self._n_tuned = int(self._n_seen * _RETUNED)
        for hook, limits in zip(self.hooks, self.limits, strict=True):
            fresh = limits.bars.copy()
            for span in self.spans:
                for part in span.parts:
                    with part.lock:
                        limits.tune(part.first, part.last, hook.base, fresh)
            limits.bars = fresh

    def take_sums(
        self,
        index: int,
        sums: npt.NDArray[np.float64],
        extremes: npt.NDArray[np.float32],
        sources: list[int],
    ) -> None:
        """Add what contexts came to at one hook; for one thread at a time.

        Args:
            index: of the hook. sums, extremes: `[N, 5, M]` and `[N, 2, M]`, see `kernels.scan`.
            sources: `[N]` the rows of their sources of text, -1 to count none.
        """
        hook = self.hooks[index]
        exact_sum.add(hook.power_sums, sums)
        hook.extremes[0] = np.minimum(hook.extremes[0], extremes[:, 0].min(0))
        hook.extremes[1] = np.maximum(hook.extremes[1], extremes[:, 1].max(0))
        for source, positive in zip(sources, sums[:, 4], strict=True):
            if source >= 0:
                mass = np.minimum(positive, _MASS_TOP)
                hook.source_mass[source] += np.rint(mass * 2.0**GRID_BITS).astype(np.int64)


class Part:
    """What one thread at a time works on, from `first` to `last`: neurons, or stripes of the vocabulary."""

    def __init__(self, first: int, last: int) -> None:
        self.first, self.last = first, last
        self.lock = Lock()


class Span:
    """Neurons that are scanned at once, and the parts in which their lists are taken.

    Args:
        first: neuron, a multiple of `kernels.SPAN`. d_mlp: of the layer.
        n_threads: about as many parts there are, of whole blocks.
    """

    def __init__(self, first: int, d_mlp: int, n_threads: int) -> None:
        self.first, self.last = first, min(first + kernels.SPAN, d_mlp)
        n_blocks = -(-(self.last - first) // BLOCK)
        step = max(1, n_blocks // n_threads) * BLOCK
        self.parts = [Part(at, min(at + step, self.last)) for at in range(first, self.last, step)]


@dataclass
class Limits:
    """The score at which each list closes, so that the loops can pass over what cannot enter."""

    ranges: npt.NDArray[np.uint32]
    """`[M, N_LISTS + 1]` high halves; the last column lets everything through."""
    bars: npt.NDArray[np.uint32]
    """See `sampling_kernels.bars_of`. Never written to: replaced, since threads read them at any time."""
    top: npt.NDArray[np.uint64]
    bottom: npt.NDArray[np.uint64]

    @classmethod
    def of(cls, hook: HookStatistics, keys: npt.NDArray[np.uint64]) -> "Limits":
        n = len(hook.base)
        worst = _worst(hook.ranges).reshape(n, ranges.N_LISTS) >> np.uint64(32)
        through = np.full((n, 1), 0xFFFFFFFF, dtype=np.uint64)
        limits = cls(
            ranges=np.concatenate([worst, through], axis=1).astype(np.uint32),
            bars=sampling_kernels.bars_of(keys),
            top=_worst(hook.top),
            bottom=_worst(hook.bottom),
        )
        limits.tune(0, n, hook.base, limits.bars)
        return limits

    def tune(self, first: int, last: int, base: npt.NDArray[np.int32], bars: npt.NDArray[np.uint32]) -> None:
        """Let the loops pass over as much as they can, as the limits of neurons `first` to `last` now are."""
        sampling_kernels.tune(first, last, base, self.ranges, _EDGES, bars)


def _worst(lists: Kept) -> npt.NDArray[np.uint64]:
    full = (lists.length > 0).all(axis=1)
    return np.where(full, lists.score.max(axis=1), NO_LIMIT)
