"""Everything kept about one layer's neurons while a corpus passes.

The accumulator's memory depends on the number of neurons alone. `update` takes a batch, `merge` joins two
parts of a corpus; the order of either does not matter (power sums: up to float64 rounding).
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from cache import kernels
from cache.batch import Batch
from cache.histogram import N_BINS
from cache.top import TopExamples


@dataclass
class HookStatistics:
    """Counts, sums and extremes of one hook, a row a neuron."""

    counts: npt.NDArray[np.int64]
    """`[M, N_BINS]` histogram over every token, see `cache.histogram`."""
    power_sums: npt.NDArray[np.float64]
    """`[M, 4]` sums of x, x^2, x^3, x^4."""
    extremes: npt.NDArray[np.float32]
    """`[M, 2]` min and max; inf and -inf where nothing was seen."""
    odd: npt.NDArray[np.int64]
    """`[M, 2]` counts of NaN and of infinity, which are in nothing else."""
    top: TopExamples

    @classmethod
    def empty(cls, d_mlp: int, k: int, width: int, n_hooks: int) -> "HookStatistics":
        """Nothing seen yet."""
        return cls(
            counts=np.zeros((d_mlp, N_BINS), dtype=np.int64),
            power_sums=np.zeros((d_mlp, 4)),
            extremes=np.tile(np.array([np.inf, -np.inf], dtype=np.float32), (d_mlp, 1)),
            odd=np.zeros((d_mlp, 2), dtype=np.int64),
            top=TopExamples.empty(d_mlp, k, width, n_hooks),
        )

    def merge(self, other: "HookStatistics") -> "HookStatistics":
        """Both parts of the corpus together."""
        low = np.minimum(self.extremes[:, 0], other.extremes[:, 0])
        high = np.maximum(self.extremes[:, 1], other.extremes[:, 1])
        return HookStatistics(
            counts=self.counts + other.counts,
            power_sums=self.power_sums + other.power_sums,
            extremes=np.stack([low, high], axis=1),
            odd=self.odd + other.odd,
            top=self.top.merge(other.top),
        )


class LayerAccumulator:
    """One layer's statistics at each of its hooks.

    Args:
        d_mlp: neurons.
        n_hooks: hooks whose activations each batch brings, in the order of `Batch.acts`.
        top_k: examples kept a neuron and hook.
        window: tokens kept before and after an example's peak.
        n_threads: threads that share a batch, each with neurons of its own.
    """

    def __init__(
        self, d_mlp: int, n_hooks: int, *, top_k: int, window: tuple[int, int], n_threads: int = 1
    ) -> None:
        self.d_mlp, self.window = d_mlp, window
        width = window[0] + 1 + window[1]
        self.hooks = [HookStatistics.empty(d_mlp, top_k, width, n_hooks) for _ in range(n_hooks)]
        bounds = np.linspace(0, d_mlp, n_threads + 1).astype(int).tolist()
        self._shares = list(pairwise(bounds))
        self._pool = ThreadPoolExecutor(n_threads)

    def update(self, batch: Batch) -> None:
        """Take in a batch.

        Raises:
            ValueError: the activations are of another width or number of hooks.
        """
        expected = (len(self.hooks), *batch.tokens.shape, self.d_mlp)
        if batch.acts.shape != expected:
            raise ValueError(f"expected activations of shape {expected}, got {batch.acts.shape}")
        shape = (len(batch.lengths), self.d_mlp)
        for index, hook in enumerate(self.hooks):
            best = np.empty(shape, dtype=np.float32)
            best_at = np.empty(shape, dtype=np.int32)

            def work(
                neurons: tuple[int, int],
                index: int = index,
                hook: HookStatistics = hook,
                best: npt.NDArray[np.float32] = best,
                best_at: npt.NDArray[np.int32] = best_at,
            ) -> None:
                kernels.scan(
                    batch.acts[index], batch.lengths, *neurons,
                    hook.counts, hook.power_sums, hook.extremes, hook.odd, best, best_at,
                )  # fmt: skip
                hook.top.offer(batch, best, best_at, neurons, self.window)

            list(self._pool.map(work, self._shares))

    def kept_documents(self) -> set[int]:
        """Documents that an example of some neuron comes from."""
        return {int(d) for hook in self.hooks for d in np.unique(hook.top.document)} - {-1}

    def merge(self, other: "LayerAccumulator") -> None:
        """Take in another accumulator's part of the corpus."""
        self.hooks = [a.merge(b) for a, b in zip(self.hooks, other.hooks, strict=True)]
