"""The accumulator's inner loop where the activations are: in torch, on the device that made them.

Histograms and totals by token grow in tables on the device, which hold what came since they were last
settled. Of a context, its sums and extremes travel to the CPU, `N_FIGURES` numbers a neuron and hook, and
the windows of activations around the few tokens that may enter a list; the CPU decides which do. What
results is what `DocumentReader` gives, but for the last bits of sums. Memory on the device depends on the
sizes of the model, on the length of a context and on nothing else.

It has been run on torch's CPU device only.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cache.device import arithmetic, fetched_kernels
from cache.device.arithmetic import N_FIGURES, N_SUMS
from cache.format.histogram import N_BINS
from cache.shards.settings import Settings
from cache.statistics import by_token
from cache.statistics.accumulate import Reader, Sequence
from cache.statistics.kept import Window
from cache.statistics.layer import LayerAccumulator
from cache.statistics.ranges import N_LISTS

_AT_ONCE = 2**22  # activations that are worked on at once
_FETCHED = 2**16  # windows that are fetched at once
_WORK_BYTES = 2**30  # what both take at most, with room to spare
_ROWS = 2**24  # totals by token that are copied at once


def device_memory(settings: Settings) -> int:
    """Bytes on the device that the tables and the work on them take, the model's own not among them."""
    by_token = settings.model.d_vocab if settings.by_token else 0
    a_neuron = 8 * (N_BINS + 2 + N_LISTS + 1 + 2 + by_token)
    n_tables = len(settings.hooks) * len(settings.layers)
    return a_neuron * settings.model.d_mlp * n_tables + _WORK_BYTES


@dataclass
class _Tables:
    """What a device holds of one hook, int64."""

    counts: Tensor
    """`[M, N_BINS + 2]` since they were last settled."""
    totals: Tensor
    """`[V, M]` the same; `[0, M]` where none are kept."""
    limit: Tensor
    """`[M, N_LISTS + 1]` copy of the samples' limits."""
    base: Tensor
    """`[M]` copy."""


class DeviceReader(Reader):
    """The one reader of a layer whose activations stay on a device.

    Args:
        layer: nothing else may add to it, and its statistics are whole only after `settle`.
        device: of the activations.
    """

    def __init__(self, layer: LayerAccumulator, d_vocab: int, device: torch.device | str) -> None:
        super().__init__(layer, d_vocab)
        layer.on_device = True
        self._device = torch.device(device)
        m = layer.d_mlp
        self._keys = self._put((layer.keys >> np.uint64(32)).astype(np.int64))
        self._tables = [
            _Tables(
                counts=torch.zeros((m, N_BINS + 2), dtype=torch.int64, device=self._device),
                totals=torch.zeros((len(hook.token_totals), m), dtype=torch.int64, device=self._device),
                limit=self._put(limits.ranges.astype(np.int64)),
                base=self._put(hook.base.astype(np.int64)),
            )
            for hook, limits in zip(layer.hooks, layer.limits, strict=True)
        ]

    def add(self, context: Sequence, acts: Iterable[Tensor], source: int) -> None:
        """Take in the document's next context, as `Reader.add`; acts on any device."""
        with torch.inference_mode():
            rows = tuple(a.to(self._device, torch.float32) for a in acts)
            self._check(context, rows)
            if len(context.tokens) > 1:
                self._add(context, rows, source)

    def settle(self) -> None:
        """Bring what was counted on the device into the layer's statistics, as `Reader.settle`."""
        for hook, tables in zip(self._layer.hooks, self._tables, strict=True):
            hook.counts += tables.counts.cpu().numpy()
            tables.counts.zero_()
            step = max(1, _ROWS // self._layer.d_mlp)
            for first in range(0, len(tables.totals), step):
                part = slice(first, first + step)
                by_token.add(hook.token_totals[part], tables.totals[part].cpu().numpy())
            tables.totals.zero_()

    def _add(self, context: Sequence, acts: tuple[Tensor, ...], source: int) -> None:
        layer, n = self._layer, len(context.tokens) - 1
        halves = (context.hashes[1:] >> np.uint64(32)).astype(np.int64)
        tokens, names = self._put(np.stack([context.tokens[1:], halves]))
        measured = [
            self._measure(tables, values[1:], tokens, names)
            for tables, values in zip(self._tables, acts, strict=True)
        ]
        # One copy, which waits for the device: all else is on its way by then.
        found = torch.cat([part for figures, passing in measured for part in (figures, _per_token(passing))])
        by_hook = found.cpu().numpy().reshape(len(acts), N_FIGURES * layer.d_mlp + n)
        for index, (_, passing) in enumerate(measured):
            figures = by_hook[index, : N_FIGURES * layer.d_mlp].reshape(N_FIGURES, layer.d_mlp)
            sums, extremes = figures[:N_SUMS], figures[N_SUMS : N_SUMS + 2].astype(np.float32)
            layer.take_sums(index, sums[None], extremes[None], [source])
            at = figures[N_SUMS + 2 :].astype(np.int64) + 1
            self._note_peaks(index, context, acts, extremes, at)
            n_passing = by_hook[index, N_FIGURES * layer.d_mlp :].astype(np.int64)
            self._sample(index, context, acts, names, passing, n_passing)

    def _measure(
        self, tables: _Tables, values: Tensor, tokens: Tensor, names: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Count and sum a context at one hook.

        Args:
            values: `[T, M]` activations, without the BOS's. tokens: `[T]`. names: `[T]` halves of hashes.

        Returns:
            Its figures, flat, and which of its tokens may enter a sample, `[T, M]`.
        """
        figures, passing = [], []
        for part in self._parts(len(values)):
            x = values[:, part]
            index = arithmetic.bins(x)
            arithmetic.count(index, tables.counts[part])
            if len(tables.totals):
                arithmetic.add_by_token(x, tokens, tables.totals[:, part])
            figures.append(arithmetic.figures(x))
            passing.append(self._passing(tables, index, names, part))
        return torch.cat(figures, dim=1).view(-1), torch.cat(passing, dim=1)

    def _passing(self, tables: _Tables, index: Tensor, names: Tensor, part: slice) -> Tensor:
        chance = arithmetic.priority_half(names[:, None], self._keys[part])
        return arithmetic.may_enter(index, chance, tables.base[part], tables.limit[part])

    def _parts(self, n_tokens: int) -> list[slice]:
        """Neurons that are worked on at once."""
        step = max(1, _AT_ONCE // n_tokens)
        return [
            slice(first, min(first + step, self._layer.d_mlp)) for first in range(0, self._layer.d_mlp, step)
        ]

    def _note_peaks(
        self,
        index: int,
        context: Sequence,
        acts: tuple[Tensor, ...],
        extremes: npt.NDArray[np.float32],
        at: npt.NDArray[np.int64],
    ) -> None:
        """Remember peaks; extremes `[2, M]`, and `at` `[2, M]` the first tokens with these values."""
        limits, keep = self._layer.limits[index], self._layer.keep
        for sign, limit, pending, window in (
            (1, limits.top, self._top[index], keep.window),
            (-1, limits.bottom, self._bottom[index], keep.sample_window),
        ):
            neurons = fetched_kernels.peaks(extremes, sign, limit, pending)
            for first in range(0, len(neurons), _FETCHED):
                some = neurons[first : first + _FETCHED]
                tokens = at[(sign + 1) // 2, some]
                where, which = self._put(np.stack([tokens, some]))
                fetched = self._fetch(acts, where, which, window)
                fetched_kernels.note(some, tokens, fetched, context, extremes, sign, pending, *window)

    def _sample(
        self,
        index: int,
        context: Sequence,
        acts: tuple[Tensor, ...],
        names: Tensor,
        passing: Tensor,
        n_passing: npt.NDArray[np.int64],
    ) -> None:
        """Offer tokens to the samples, as many at a time as are fetched at once: limits fall with each time.

        Args:
            names: `[T]` halves of hashes. passing: `[T, M]`. n_passing: `[T]` how many pass, of each token.
        """
        tables, values, n = self._tables[index], acts[index][1:], len(names)
        first = 0
        while n_passing.any():
            n_some = max(1, int(np.searchsorted(np.cumsum(n_passing), _FETCHED, side="right")))
            places = passing[:n_some].nonzero()
            for some in places.split(_FETCHED):
                self._offer(index, context, acts, names, some[:, 0] + first, some[:, 1])
            first += n_some
            if first == n:
                return
            passing = torch.cat(
                [
                    self._passing(tables, arithmetic.bins(values[first:, part]), names[first:], part)
                    for part in self._parts(n - first)
                ],
                dim=1,
            )
            n_passing = _per_token(passing).cpu().numpy().astype(np.int64)

    def _offer(
        self,
        index: int,
        context: Sequence,
        acts: tuple[Tensor, ...],
        names: Tensor,
        rows: Tensor,
        neurons: Tensor,
    ) -> None:
        """Fetch tokens, rows of those past the BOS, and let the CPU decide which enter the samples."""
        layer, tables = self._layer, self._tables[index]
        hook, limit, window = layer.hooks[index], layer.limits[index].ranges, layer.keep.sample_window
        at = rows + 1
        chance = arithmetic.priority_half(names[rows], self._keys[neurons])
        bins = arithmetic.bins(acts[index][at, neurons])
        fetched = self._fetch(acts, at, neurons, window)
        found = torch.stack([at, neurons, chance, bins]).cpu().numpy()
        fetched_kernels.sample(
            found, fetched, index, context, hook.base, limit, hook.ranges, layer.keys, *window
        )
        changed = np.unique(found[1])
        where = self._put(changed)
        tables.limit[where] = self._put(limit[changed].astype(np.int64))
        tables.base[where] = self._put(hook.base[changed].astype(np.int64))

    def _fetch(
        self, acts: tuple[Tensor, ...], at: Tensor, neurons: Tensor, window: Window
    ) -> npt.NDArray[np.float32]:
        """Windows `[H, W, C]` around tokens of neurons."""
        found: npt.NDArray[np.float32] = arithmetic.windows(acts, at, neurons, window).cpu().numpy()
        return found.transpose(0, 2, 1)

    def _put(self, array: npt.NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(array).to(self._device, non_blocking=True)


def _per_token(passing: Tensor) -> Tensor:
    return passing.sum(1).double()
