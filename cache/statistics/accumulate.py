"""Documents into the statistics of a layer, in any order and by any number of threads."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from cache.format.histogram import N_BINS
from cache.statistics import kept, kernels, list_kernels, sampling_kernels, token_kernels
from cache.statistics.identity import token_hashes
from cache.statistics.layer import N_STRIPES, LayerAccumulator, Part
from cache.statistics.sampling_kernels import BLOCK

MAX_CONTEXT = 2**16 - 1
"""Tokens that the small counters can take in at once."""
_HELD = 4  # contexts whose sums are held until they are added at once: each sum is a line of memory

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
            for part in self._in_turn(span.parts):
                with part.lock:
                    for hook, limit, top, bottom in zip(
                        layer.hooks, layer.limits, self._top, self._bottom, strict=True
                    ):
                        list_kernels.settle_peaks(part.first, part.last, limit.top, top, hook.top)
                        list_kernels.settle_peaks(part.first, part.last, limit.bottom, bottom, hook.bottom)

    def _in_turn(self, parts: list[Part]) -> Iterable[Part]:
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
                for part in self._in_turn(span.parts):
                    with part.lock:
                        sampling_kernels.admit(
                            self._passing, n_passing, part.first, part.last, acts, index, context,
                            hook.base, limits.ranges, hook.ranges, layer.keys, *keep.sample_window,
                        )  # fmt: skip
        finite = kernels.leave_out_odd(acts[index], self._counts[index], sums, extremes)
        list_kernels.note_peaks(acts, index, context, extremes, 1, limits.top, self._top[index], *keep.window)
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
