"""Documents into the statistics of a layer, in any order and by any number of threads.

Memory depends on the sizes of the model alone.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from cache.format.histogram import N_BINS, bin_edges
from cache.statistics import exact_sum, kept, kernels, list_kernels, ranges, sampling_kernels
from cache.statistics.by_token import GRID_BITS
from cache.statistics.hook import HookStatistics, Keep
from cache.statistics.identity import neuron_keys, token_hashes
from cache.statistics.kept import NO_LIMIT, Kept

MAX_CONTEXT = 2**16 - 1
"""Tokens that the small counters can take in at once."""
_FIRST_TUNED = 1024  # tokens that a share has seen before its limits are looked at again
_RETUNED = 1.15  # and how many times as many each time after
_MASS_TOP = 2.0**26
_EDGES = bin_edges().astype(np.float32)


Activations = tuple[npt.NDArray[np.float32], ...]


class Sequence(NamedTuple):
    """One context as the compiled loops want it."""

    document: np.int64
    start: np.int64
    """Index in the document of the first token after the BOS."""
    tokens: npt.NDArray[np.int64]
    """`[T]`, BOS at position 0."""
    hashes: npt.NDArray[np.uint64]
    """`[T]` names of the tokens, see `identity`; that of the BOS means nothing."""
    order: npt.NDArray[np.int64]
    """`[T - 1]` positions past the BOS, those of one token beside each other."""


def sequence(document: int, start: int, tokens: npt.NDArray[np.int64]) -> Sequence:
    """A context, BOS at position 0, ready for the compiled loops."""
    hashes = np.zeros(len(tokens), dtype=np.uint64)
    hashes[1:] = token_hashes(document, np.arange(start, start + len(tokens) - 1))
    order = np.argsort(tokens[1:], kind="stable") + 1
    return Sequence(np.int64(document), np.int64(start), tokens, hashes, order)


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
        self.on_device = False
        """A `cache.device.accumulate.DeviceReader` has it: nothing else adds to it."""
        step = max(kernels.BLOCK, -(-self.d_mlp // (2 * n_threads) // kernels.BLOCK) * kernels.BLOCK)
        self.shares = [
            _Share(first, min(first + step, self.d_mlp), hooks) for first in range(0, self.d_mlp, step)
        ]
        self.limits = [_Limits.of(hook) for hook in hooks]

    def settle(self) -> None:
        """Bring everything into `hooks`: the small counters are added to the large ones."""
        for share in self.shares:
            with share.lock:
                share.flush(self.hooks)

    def take_sums(
        self,
        index: int,
        sums: npt.NDArray[np.float64],
        extremes: npt.NDArray[np.float32],
        source: int,
        first: int,
        last: int,
    ) -> None:
        """Add what a context came to at one hook, for the neurons `first` to `last`.

        Args:
            index: of the hook. sums, extremes: `[5, M]` and `[2, M]`, see `kernels.scan`.
            source: the row of its source of text, -1 to count none.
        """
        hook, part = self.hooks[index], slice(first, last)
        exact_sum.add(hook.power_sums, sums, first, last)
        hook.extremes[0, part] = np.minimum(hook.extremes[0, part], extremes[0, part])
        hook.extremes[1, part] = np.maximum(hook.extremes[1, part], extremes[1, part])
        if source >= 0:
            mass = np.minimum(sums[4, part], _MASS_TOP)
            hook.source_mass[source, part] += np.rint(mass * 2.0**GRID_BITS).astype(np.int64)


class _Share:
    """A range of neurons that one thread at a time works on, with counters small enough to stay in cache."""

    def __init__(self, first: int, last: int, hooks: list[HookStatistics]) -> None:
        self.first, self.last = first, last
        self.lock = Lock()
        self.n_blocks = -(-(last - first) // kernels.BLOCK)
        shape = (self.n_blocks, N_BINS + 2, kernels.BLOCK)
        self.recent = [np.zeros(shape, dtype=np.uint16) for _ in hooks]
        self.n_recent = 0
        self._n_seen, self._n_tuned = 0, _FIRST_TUNED

    def make_room(self, n_tokens: int, layer: "LayerAccumulator") -> None:
        """Ready the counters and limits for so many tokens more."""
        if self.n_recent + n_tokens > MAX_CONTEXT:
            self.flush(layer.hooks)
        self.n_recent += n_tokens
        self._n_seen += n_tokens
        if self._n_seen > self._n_tuned:
            self._n_tuned = int(self._n_seen * _RETUNED)
            for hook, limits in zip(layer.hooks, layer.limits, strict=True):
                limits.tune(self.first, self.last, hook.base)

    def flush(self, hooks: list[HookStatistics]) -> None:
        """Add the small counters to the large ones."""
        for recent, hook in zip(self.recent, hooks, strict=True):
            for block in range(self.n_blocks):
                first = self.first + block * kernels.BLOCK
                last = min(first + kernels.BLOCK, self.last)
                hook.counts[first:last] += recent[block, :, : last - first].T
            recent.fill(0)
        self.n_recent = 0


@dataclass
class _Limits:
    """The score at which each list closes, so that the loops can pass over what cannot enter."""

    ranges: npt.NDArray[np.uint32]
    """`[M, N_LISTS + 1]` high halves; the last column lets everything through."""
    common: npt.NDArray[np.uint32]
    rare: npt.NDArray[np.float32]
    """`[M]` a token with a higher priority than the one and a lower value than the other enters no sample."""
    top: npt.NDArray[np.uint64]
    bottom: npt.NDArray[np.uint64]

    @classmethod
    def of(cls, hook: HookStatistics) -> "_Limits":
        n = len(hook.base)
        worst = _worst(hook.ranges).reshape(n, ranges.N_LISTS) >> np.uint64(32)
        through = np.full((n, 1), 0xFFFFFFFF, dtype=np.uint64)
        limits = cls(
            ranges=np.concatenate([worst, through], axis=1).astype(np.uint32),
            common=np.empty(n, dtype=np.uint32),
            rare=np.empty(n, dtype=np.float32),
            top=_worst(hook.top),
            bottom=_worst(hook.bottom),
        )
        limits.tune(0, n, hook.base)
        return limits

    def tune(self, first: int, last: int, base: npt.NDArray[np.int32]) -> None:
        """Let the loops pass over as much as they can, as the limits of neurons `first` to `last` now are."""
        sampling_kernels.tune(first, last, base, self.ranges, _EDGES, self.common, self.rare)


def _worst(lists: Kept) -> npt.NDArray[np.uint64]:
    full = (lists.length > 0).all(axis=1)
    return np.where(full, lists.score.max(axis=1), NO_LIMIT)


class Reader(ABC):
    """A way into a layer's accumulator: a document's contexts, one after another, then its end.

    A document offers one example to each list, so its best so far is held here until it ends.
    """

    def __init__(self, layer: LayerAccumulator, d_vocab: int, turn: int = 0) -> None:
        assert not layer.on_device
        n_hooks = len(layer.hooks)
        self._layer, self._turn = layer, turn
        keep = layer.keep
        self._top = [kept.empty(layer.d_mlp, 1, keep.window, n_hooks, d_vocab) for _ in range(n_hooks)]
        self._bottom = [
            kept.empty(layer.d_mlp, 1, keep.sample_window, n_hooks, d_vocab) for _ in range(n_hooks)
        ]

    @abstractmethod
    def add(self, context: Sequence, acts: Iterable[Any], source: int) -> None:
        """Take in the document's next context.

        Args:
            acts: of each hook `[T, M]` float32 activations, position 0 the BOS's.
            source: the row of its source of text, -1 to count none.

        Raises:
            ValueError: the activations are of another shape.
        """

    def end_document(self) -> None:
        """Offer the document's best to the lists."""
        layer = self._layer
        for share in self._in_turn():
            with share.lock:
                for hook, limit, top, bottom in zip(
                    layer.hooks, layer.limits, self._top, self._bottom, strict=True
                ):
                    list_kernels.settle_peaks(share.first, share.last, limit.top, top, hook.top)
                    list_kernels.settle_peaks(share.first, share.last, limit.bottom, bottom, hook.bottom)

    def _in_turn(self) -> Iterable[_Share]:
        """The shares, from another one for each thread, so that they seldom wait for each other."""
        shares = self._layer.shares
        self._turn += 1
        at = self._turn % len(shares)
        return shares[at:] + shares[:at]

    def _check(self, context: Sequence, acts: Iterable[Any]) -> None:
        expected = [(len(context.tokens), self._layer.d_mlp)] * len(self._layer.hooks)
        if (shapes := [tuple(a.shape) for a in acts]) != expected:
            raise ValueError(f"expected activations of shapes {expected}, got {shapes}")


class DocumentReader(Reader):
    """One thread's reader, of activations in numpy, through the compiled loops."""

    def __init__(self, layer: LayerAccumulator, d_vocab: int, turn: int = 0) -> None:
        super().__init__(layer, d_vocab, turn)
        self._sums = np.zeros((5, layer.d_mlp))
        self._extremes = np.zeros((2, layer.d_mlp), dtype=np.float32)

    def add(self, context: Sequence, acts: Iterable[npt.NDArray[np.float32]], source: int) -> None:
        """Take in the document's next context, as `Reader.add`."""
        layer = self._layer
        rows = tuple(np.ascontiguousarray(a) for a in acts)
        self._check(context, rows)
        for share in self._in_turn():
            with share.lock:
                share.make_room(len(context.tokens), layer)
                for index in range(len(layer.hooks)):
                    self._add(share, index, context, rows, source)

    def _add(self, share: _Share, index: int, context: Sequence, acts: Activations, source: int) -> None:
        layer, keep = self._layer, self._layer.keep
        hook, limit = layer.hooks[index], layer.limits[index]
        first, last = share.first, share.last
        finite = kernels.scan(
            acts, index, context, first, last, share.recent[index], self._sums, self._extremes, hook.base,
            limit.ranges, limit.common, limit.rare, hook.ranges, layer.keys, *keep.sample_window,
        )  # fmt: skip
        layer.take_sums(index, self._sums, self._extremes, source, first, last)
        list_kernels.note_peaks(
            acts, index, context, first, last, self._extremes, 1, limit.top, self._top[index], *keep.window
        )
        list_kernels.note_peaks(
            acts, index, context, first, last, self._extremes, -1, limit.bottom, self._bottom[index],
            *keep.sample_window,
        )  # fmt: skip
        if keep.by_token:
            kernels.add_by_token(
                acts[index], context.order, context.tokens, first, last, self._extremes, finite,
                hook.token_totals,
            )  # fmt: skip
