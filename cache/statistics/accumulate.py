"""Documents into the statistics of a layer, in any order and by any number of threads.

Memory depends on the sizes of the model alone.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from threading import Lock
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from cache.format.histogram import N_BINS, bin_edges
from cache.statistics import (
    exact_sum,
    kept,
    kernels,
    list_kernels,
    ranges,
    sampling_kernels,
    token_kernels,
)
from cache.statistics.by_token import GRID_BITS
from cache.statistics.hook import HookStatistics, Keep
from cache.statistics.identity import neuron_keys, token_hashes
from cache.statistics.kept import NO_LIMIT, Kept
from cache.statistics.sampling_kernels import BLOCK

MAX_CONTEXT = 2**16 - 1
"""Tokens that the small counters can take in at once."""
N_STRIPES = 16
"""Parts of the vocabulary, whose totals threads add to one at a time."""
_HELD = 4  # contexts whose sums are held until they are added at once: each sum is a line of memory
_FIRST_TUNED = 1024  # tokens that a layer has seen before its limits are looked at again
_RETUNED = 1.15  # and how many times as many each time after
_MASS_TOP = 2.0**26
_EDGES = bin_edges().astype(np.float32)


Activations = tuple[npt.NDArray[np.float32], ...]
_Part = TypeVar("_Part")


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
    """`[T - 1]` positions past the BOS, those of one token beside each other, stripe by stripe."""
    stripes: npt.NDArray[np.int64]
    """`[N_STRIPES + 1]` where in `order` each stripe begins."""


def sequence(document: int, start: int, tokens: npt.NDArray[np.int64]) -> Sequence:
    """A context, BOS at position 0, ready for the compiled loops."""
    hashes = np.zeros(len(tokens), dtype=np.uint64)
    hashes[1:] = token_hashes(document, np.arange(start, start + len(tokens) - 1))
    by_stripe = (tokens[1:] % N_STRIPES << 32) + tokens[1:]
    order = np.argsort(by_stripe, kind="stable")
    stripes = np.searchsorted(by_stripe[order], np.arange(N_STRIPES + 1) << 32)
    return Sequence(np.int64(document), np.int64(start), tokens, hashes, order + 1, stripes)


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
        self.limits = [_Limits.of(hook, self.keys) for hook in hooks]
        self.readers: list[Reader] = []
        self.on_device = False
        """A `cache.device.accumulate.DeviceReader` has it: nothing else adds to it."""
        self.lock = Lock()
        """Of counts, sums and extremes."""
        self.spans = [_Span(first, self.d_mlp, n_threads) for first in range(0, self.d_mlp, kernels.SPAN)]
        n_parts = min(n_threads, N_STRIPES)
        self.stripes = [
            _Stripes(i * N_STRIPES // n_parts, (i + 1) * N_STRIPES // n_parts) for i in range(n_parts)
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
                for share in span.shares:
                    with share.lock:
                        limits.tune(share.first, share.last, hook.base, fresh)
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
        exact_sum.add(hook.power_sums, sums, 0, self.d_mlp)
        hook.extremes[0] = np.minimum(hook.extremes[0], extremes[:, 0].min(0))
        hook.extremes[1] = np.maximum(hook.extremes[1], extremes[:, 1].max(0))
        for source, positive in zip(sources, sums[:, 4], strict=True):
            if source >= 0:
                mass = np.minimum(positive, _MASS_TOP)
                hook.source_mass[source] += np.rint(mass * 2.0**GRID_BITS).astype(np.int64)


class _Share:
    """Neurons whose lists one thread at a time works on."""

    def __init__(self, first: int, last: int) -> None:
        self.first, self.last = first, last
        self.lock = Lock()


class _Span:
    """Neurons that are scanned at once, in shares: no more than there are threads, all multiples of a block."""

    def __init__(self, first: int, d_mlp: int, n_threads: int) -> None:
        self.first, self.last = first, min(first + kernels.SPAN, d_mlp)
        n_blocks = -(-(self.last - first) // BLOCK)
        step = max(1, n_blocks // n_threads) * BLOCK
        self.shares = [_Share(at, min(at + step, self.last)) for at in range(first, self.last, step)]


class _Stripes:
    """Stripes of the vocabulary, from the first to the last, whose totals one thread at a time adds to."""

    def __init__(self, first: int, last: int) -> None:
        self.first, self.last = first, last
        self.lock = Lock()


@dataclass
class _Limits:
    """The score at which each list closes, so that the loops can pass over what cannot enter."""

    ranges: npt.NDArray[np.uint32]
    """`[M, N_LISTS + 1]` high halves; the last column lets everything through."""
    bars: npt.NDArray[np.uint32]
    """See `sampling_kernels.bars_of`. Never written to: replaced, since threads read them at any time."""
    top: npt.NDArray[np.uint64]
    bottom: npt.NDArray[np.uint64]

    @classmethod
    def of(cls, hook: HookStatistics, keys: npt.NDArray[np.uint64]) -> "_Limits":
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

    def tune(
        self, first: int, last: int, base: npt.NDArray[np.int32], bars: npt.NDArray[np.uint32]
    ) -> None:
        """Let the loops pass over as much as they can, as the limits of neurons `first` to `last` now are."""
        sampling_kernels.tune(first, last, base, self.ranges, _EDGES, bars)


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
        layer.readers.append(self)

    @abstractmethod
    def add(self, context: Sequence, acts: Iterable[Any], source: int) -> None:
        """Take in the document's next context.

        Args:
            acts: of each hook `[T, M]` float32 activations, position 0 the BOS's.
            source: the row of its source of text, -1 to count none.

        Raises:
            ValueError: the activations are of another shape.
        """

    @abstractmethod
    def settle(self) -> None:
        """Bring what is held of contexts into the layer's statistics, which are whole only then."""

    def end_document(self) -> None:
        """Offer the document's best to the lists."""
        layer = self._layer
        for span in layer.spans:
            for share in self._in_turn(span.shares):
                with share.lock:
                    for hook, limit, top, bottom in zip(
                        layer.hooks, layer.limits, self._top, self._bottom, strict=True
                    ):
                        list_kernels.settle_peaks(share.first, share.last, limit.top, top, hook.top)
                        list_kernels.settle_peaks(share.first, share.last, limit.bottom, bottom, hook.bottom)

    def _in_turn(self, parts: list[_Part]) -> Iterable[_Part]:
        """What threads take one at a time, from another one each, so that they seldom wait for each other."""
        self._turn += 1
        at = self._turn % len(parts)
        return parts[at:] + parts[:at]

    def _check(self, context: Sequence, acts: Iterable[Any]) -> None:
        expected = [(len(context.tokens), self._layer.d_mlp)] * len(self._layer.hooks)
        if (shapes := [tuple(a.shape) for a in acts]) != expected:
            raise ValueError(f"expected activations of shapes {expected}, got {shapes}")


class DocumentReader(Reader):
    """One thread's reader, of activations in numpy, through the compiled loops.

    Counts and sums are its own until they are settled, so that threads meet at lists and totals alone.
    """

    def __init__(self, layer: LayerAccumulator, d_vocab: int, turn: int = 0) -> None:
        super().__init__(layer, d_vocab, turn)
        n_hooks, m = len(layer.hooks), layer.d_mlp
        shape = (-(-m // BLOCK), N_BINS + 2, BLOCK)
        self._counts = [np.zeros(shape, dtype=np.uint16) for _ in range(n_hooks)]
        self._n_counted = 0
        self._sums = np.zeros((n_hooks, _HELD, 5, m))
        self._extremes = np.zeros((n_hooks, _HELD, 2, m), dtype=np.float32)
        self._sources: list[int] = []
        self._passing = np.empty(kernels.ROOM, dtype=np.uint64)

    def add(self, context: Sequence, acts: Iterable[npt.NDArray[np.float32]], source: int) -> None:
        """Take in the document's next context, as `Reader.add`."""
        rows = tuple(np.ascontiguousarray(a) for a in acts)
        self._check(context, rows)
        n_tokens = len(context.tokens)
        if self._n_counted + n_tokens > MAX_CONTEXT:
            self._settle_counts()
        self._n_counted += n_tokens
        self._layer.tune(n_tokens)
        for index in range(len(rows)):
            self._add(index, context, rows)
        self._sources.append(source)
        if len(self._sources) == _HELD:
            self._settle_sums()

    def settle(self) -> None:
        """Bring what is held into the layer's statistics, as `Reader.settle`."""
        self._settle_counts()
        self._settle_sums()

    def _add(self, index: int, context: Sequence, acts: Activations) -> None:
        layer, keep = self._layer, self._layer.keep
        hook, limits = layer.hooks[index], layer.limits[index]
        held = len(self._sources)
        sums, extremes = self._sums[index, held], self._extremes[index, held]
        sums.fill(0)
        extremes[0], extremes[1] = np.inf, -np.inf
        for span in layer.spans:
            begin = 1
            while begin < len(context.tokens):
                begin, n_passing = kernels.scan(
                    acts[index], context.hashes, begin, span.first, span.last, limits.bars,
                    self._counts[index], sums, extremes, self._passing,
                )  # fmt: skip
                for share in self._in_turn(span.shares):
                    with share.lock:
                        sampling_kernels.admit(
                            self._passing, n_passing, share.first, share.last, acts, index, context, hook.base,
                            limits.ranges, hook.ranges, layer.keys, *keep.sample_window,
                        )  # fmt: skip
        finite = kernels.leave_out_odd(acts[index], self._counts[index], sums, extremes)
        list_kernels.note_peaks(
            acts, index, context, extremes, 1, limits.top, self._top[index], *keep.window
        )
        list_kernels.note_peaks(
            acts, index, context, extremes, -1, limits.bottom, self._bottom[index], *keep.sample_window
        )
        if keep.by_token:
            for part in self._in_turn(layer.stripes):
                order = context.order[context.stripes[part.first] : context.stripes[part.last]]
                with part.lock:
                    token_kernels.add_by_token(
                        acts[index], order, context.tokens, extremes, finite, hook.token_totals
                    )

    def _settle_counts(self) -> None:
        with self._layer.lock:
            for counts, hook in zip(self._counts, self._layer.hooks, strict=True):
                for block, found in enumerate(counts):
                    some = hook.counts[block * BLOCK : (block + 1) * BLOCK]
                    some += found[:, : len(some)].T
                counts.fill(0)
        self._n_counted = 0

    def _settle_sums(self) -> None:
        n = len(self._sources)
        if n:
            with self._layer.lock:
                for index, (sums, extremes) in enumerate(zip(self._sums, self._extremes, strict=True)):
                    self._layer.take_sums(index, sums[:n], extremes[:n], self._sources)
            self._sources.clear()
