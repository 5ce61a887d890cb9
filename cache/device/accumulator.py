"""Add activations to a layer's statistics on the device that computed them, in torch.

Histograms and totals by token grow in tables on the device, until they are flushed. For each context, its
sums and extremes travel to the CPU, `N_FIGURES` numbers for each neuron and hook, and so do windows of
activations around the few tokens that may enter a list; the CPU decides which of them do. The result is that
of `CpuAccumulator`, but for the last bits of sums. Memory on the device depends on the sizes of the model and
the length of a context alone.

So far it has been run on torch's CPU device only.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cache.device import arithmetic, window_kernels
from cache.device.arithmetic import N_FIGURES, N_SUMS
from cache.format.histogram import N_BINS
from cache.shards.settings import Settings
from cache.statistics import token_totals
from cache.statistics.accumulator import Accumulator, PreparedContext
from cache.statistics.example_lists import Window
from cache.statistics.layer import LayerStatistics
from cache.statistics.ranges import N_LISTS

_ACTS_AT_ONCE = 2**22
"""Activations that are processed together."""
_WINDOWS_AT_ONCE = 2**16
"""Windows that are fetched together."""
_WORK_BYTES = 2**30
"""Most memory of both, with room to spare."""
_TOTALS_AT_ONCE = 2**24
"""Totals by token that are copied together."""


def device_memory(settings: Settings) -> int:
    """Return the bytes that the tables and the work on them take on the device, without the model."""
    n_totals = settings.model.d_vocab if settings.by_token else 0
    bytes_per_neuron = 8 * (N_BINS + 2 + N_LISTS + 1 + 2 + n_totals)
    n_tables = len(settings.hooks) * len(settings.layers)
    return bytes_per_neuron * settings.model.d_mlp * n_tables + _WORK_BYTES


@dataclass
class _Tables:
    """Tables of one hook on the device, all int64."""

    counts: Tensor
    """`[M, N_BINS + 2]` histograms since the last flush."""
    totals: Tensor
    """`[V, M]` totals by token since the last flush; `[0, M]` where none are kept."""
    limit: Tensor
    """`[M, N_LISTS + 1]` copy of `SampleLimits.ranges`."""
    base: Tensor
    """`[M]` copy of `HookStatistics.base`."""


class DeviceAccumulator(Accumulator):
    """The only accumulator of a layer whose activations stay on a device.

    Args:
        layer: the statistics to add to; no other accumulator may add to it.
        d_vocab: tokens in the vocabulary.
        device: of the activations.
    """

    def __init__(self, layer: LayerStatistics, d_vocab: int, device: torch.device | str) -> None:
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

    def add(self, context: PreparedContext, acts: Iterable[Tensor], source: int) -> None:
        """Add the document's next context, as `Accumulator.add`; `acts` may be on any device."""
        with torch.inference_mode():
            by_hook = tuple(a.to(self._device, torch.float32) for a in acts)
            self._check_shapes(context, by_hook)
            if len(context.tokens) > 1:
                self._add_hooks(context, by_hook, source)

    def flush(self) -> None:
        """Add the tables on the device to the layer's statistics, as `Accumulator.flush`."""
        for hook, tables in zip(self._layer.hooks, self._tables, strict=True):
            hook.counts += tables.counts.cpu().numpy()
            tables.counts.zero_()
            step = max(1, _TOTALS_AT_ONCE // self._layer.d_mlp)
            for first in range(0, len(tables.totals), step):
                part = slice(first, first + step)
                token_totals.add(hook.token_totals[part], tables.totals[part].cpu().numpy())
            tables.totals.zero_()

    def _add_hooks(self, context: PreparedContext, acts: tuple[Tensor, ...], source: int) -> None:
        """Add a context of at least one token after the BOS."""
        layer, n = self._layer, len(context.tokens) - 1
        halves = (context.hashes[1:] >> np.uint64(32)).astype(np.int64)
        tokens, names = self._put(np.stack([context.tokens[1:], halves]))
        measured = [
            self._measure(tables, values[1:], tokens, names)
            for tables, values in zip(self._tables, acts, strict=True)
        ]
        # One copy to the CPU, which waits for the device: by then all work of both hooks has been queued.
        results = torch.cat(
            [part for figures, passing in measured for part in (figures, _per_token(passing))]
        )
        by_hook = results.cpu().numpy().reshape(len(acts), N_FIGURES * layer.d_mlp + n)
        for index, (_, passing) in enumerate(measured):
            figures = by_hook[index, : N_FIGURES * layer.d_mlp].reshape(N_FIGURES, layer.d_mlp)
            sums, extremes = figures[:N_SUMS], figures[N_SUMS : N_SUMS + 2].astype(np.float32)
            layer.add_sums(index, sums[None], extremes[None], [source])
            at = figures[N_SUMS + 2 :].astype(np.int64) + 1
            self._record_peaks(index, context, acts, extremes, at)
            n_passing = by_hook[index, N_FIGURES * layer.d_mlp :].astype(np.int64)
            self._offer_passing(index, context, acts, names, passing, n_passing)

    def _measure(
        self, tables: _Tables, values: Tensor, tokens: Tensor, names: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Count and sum a context at one hook.

        Args:
            tables: of the hook, added to.
            values: `[T, M]` activations, without those of the BOS.
            tokens: `[T]`.
            names: `[T]` high halves of the tokens' names.

        Returns:
            `[N_FIGURES * M]` the figures of `arithmetic.figures`, and `[T, M]` True for activations that may
            enter a sample.
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
        """Return True for activations of some neurons that may enter a sample, `[T, M']`; bins `[T, M']`."""
        chance = arithmetic.priority_half(names[:, None], self._keys[part])
        return arithmetic.may_enter(index, chance, tables.base[part], tables.limit[part])

    def _parts(self, n_tokens: int) -> list[slice]:
        """Return the slices of neurons that are processed together."""
        step = max(1, _ACTS_AT_ONCE // n_tokens)
        return [
            slice(first, min(first + step, self._layer.d_mlp)) for first in range(0, self._layer.d_mlp, step)
        ]

    def _record_peaks(
        self,
        index: int,
        context: PreparedContext,
        acts: tuple[Tensor, ...],
        extremes: npt.NDArray[np.float32],
        at: npt.NDArray[np.int64],
    ) -> None:
        """Record peaks that may enter a list, as `example_kernels.record_peaks`.

        Args:
            index: of the hook.
            extremes: `[2, M]` lowest and highest values.
            at: `[2, M]` positions of the first tokens with these values.
        """
        limits, options = self._layer.limits[index], self._layer.options
        for sign, limit, pending, window in (
            (1, limits.top, self._top[index], options.window),
            (-1, limits.bottom, self._bottom[index], options.sample_window),
        ):
            neurons = window_kernels.select_peaks(extremes, sign, limit, pending)
            # The CPU knows the limits of lists, so it selects the few peaks whose windows are fetched.
            for first in range(0, len(neurons), _WINDOWS_AT_ONCE):
                selected = neurons[first : first + _WINDOWS_AT_ONCE]
                tokens = at[(sign + 1) // 2, selected]
                rows, columns = self._put(np.stack([tokens, selected]))
                windows = self._fetch(acts, rows, columns, window)
                window_kernels.record_peaks(
                    selected, tokens, windows, context, extremes, sign, pending, *window
                )

    def _offer_passing(
        self,
        index: int,
        context: PreparedContext,
        acts: tuple[Tensor, ...],
        names: Tensor,
        passing: Tensor,
        n_passing: npt.NDArray[np.int64],
    ) -> None:
        """Offer activations to the samples in rounds of at most `_WINDOWS_AT_ONCE` windows.

        Limits fall with each round, so after it those that may enter are selected again.

        Args:
            index: of the hook.
            names: `[T]` high halves of the tokens' names.
            passing: `[T, M]` True for activations that may enter a sample.
            n_passing: `[T]` their number at each token.
        """
        tables, values, n = self._tables[index], acts[index][1:], len(names)
        first = 0
        while n_passing.any():
            # As many whole tokens as fit; one token alone may exceed it, and is split below.
            n_batch = max(1, int(np.searchsorted(np.cumsum(n_passing), _WINDOWS_AT_ONCE, side="right")))
            places = passing[:n_batch].nonzero()
            for batch in places.split(_WINDOWS_AT_ONCE):
                rows, neurons = batch[:, 0] + first, batch[:, 1]
                self._offer(index, context, acts, names, rows, neurons)
            first += n_batch
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
        context: PreparedContext,
        acts: tuple[Tensor, ...],
        names: Tensor,
        rows: Tensor,
        neurons: Tensor,
    ) -> None:
        """Fetch windows of activations, and let the CPU decide which enter the samples.

        Args:
            index: of the hook.
            names: `[T]` high halves of the tokens' names.
            rows: `[C]` tokens, from 0 for the first after the BOS.
            neurons: `[C]`.
        """
        layer, tables = self._layer, self._tables[index]
        hook, limit, window = layer.hooks[index], layer.limits[index].ranges, layer.options.sample_window
        at = rows + 1
        chance = arithmetic.priority_half(names[rows], self._keys[neurons])
        bins = arithmetic.bins(acts[index][at, neurons])
        windows = self._fetch(acts, at, neurons, window)
        candidates = torch.stack([at, neurons, chance, bins]).cpu().numpy()
        window_kernels.offer_tokens(
            candidates, windows, index, context, hook.base, limit, hook.ranges, layer.keys, *window
        )
        # The CPU may have lowered limits or raised bases: copy those of the neurons in question back.
        changed = np.unique(candidates[1])
        changed_rows = self._put(changed)
        tables.limit[changed_rows] = self._put(limit[changed].astype(np.int64))
        tables.base[changed_rows] = self._put(hook.base[changed].astype(np.int64))

    def _fetch(
        self, acts: tuple[Tensor, ...], at: Tensor, neurons: Tensor, window: Window
    ) -> npt.NDArray[np.float32]:
        """Return windows of activations `[H, W, C]` around positions `at` `[C]`, of neurons `[C]`."""
        windows: npt.NDArray[np.float32] = arithmetic.windows(acts, at, neurons, window).cpu().numpy()
        return windows.transpose(0, 2, 1)

    def _put(self, array: npt.NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(array).to(self._device, non_blocking=True)


def _per_token(passing: Tensor) -> Tensor:
    return passing.sum(1).double()
