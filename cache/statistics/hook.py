"""All statistics of one hook of one layer, over a corpus or any part of one.

`merge` adds the statistics of another part. The result depends on the documents alone, to the last byte.
"""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from cache.format.histogram import N_BINS
from cache.statistics import exact_sum, example_lists, ranges, token_totals
from cache.statistics.example_lists import SAMPLE_WINDOW, WINDOW, Array, ExampleLists, Window

_TOKENS_AT_ONCE = 4096
"""Tokens whose totals are merged together: the temporary arrays stay small beside the table."""
MAX_SOURCES = 256
"""Sources of text at most. A corpus with more has no statistics by source at all, so order cannot matter."""


@dataclass(frozen=True)
class StatisticsOptions:
    """Sizes of the statistics of each neuron and hook."""

    top_k: int = 20
    """Number of strongest and of weakest examples."""
    range_samples: int = 5
    """Tokens sampled from each range of activation."""
    window: Window = WINDOW
    """Tokens kept around the peak of a strongest example."""
    sample_window: Window = SAMPLE_WINDOW
    """Tokens kept around the token of a sampled or weakest example."""
    by_token: bool = True
    """Keep totals by token: a table of V by M, by far the largest part where the vocabulary is large."""


@dataclass
class HookStatistics:
    """Statistics of one hook of one layer. M neurons, V tokens of the vocabulary."""

    counts: npt.NDArray[np.int64]
    """`[M, N_BINS + 2]` histogram over every token, see `cache.format.histogram`; the last two count NaN and
    infinity."""
    power_sums: npt.NDArray[np.int64]
    """`[4, M, N_DIGITS]` exact sums of x, x^2, x^3, x^4, see `exact_sum`."""
    extremes: npt.NDArray[np.float32]
    """`[2, M]` min and max; inf and -inf where no token was counted."""
    token_totals: npt.NDArray[np.int32]
    """`[V, 2, M]` in two words each, see `token_totals`; `[0, 2, M]` where they are not kept."""
    source_mass: npt.NDArray[np.int64]
    """`[MAX_SOURCES, M]` sums of activation above 0 by source of text, on the grid of `token_totals`."""
    base: npt.NDArray[np.int32]
    """`[M]` lowest tracked bin, see `ranges`."""
    ranges: ExampleLists
    """Samples, `N_LISTS` lists for each neuron."""
    top: ExampleLists
    """Strongest examples, one list for each neuron."""
    bottom: ExampleLists
    """Weakest examples, one list for each neuron."""

    @classmethod
    def empty(cls, d_mlp: int, n_hooks: int, d_vocab: int, options: StatisticsOptions) -> "HookStatistics":
        """Return the statistics of no tokens, for models of `n_hooks` hooks in each layer."""

        def zeros(*shape: int) -> npt.NDArray[np.int64]:
            array = np.empty(shape, dtype=np.int64)
            array.fill(0)  # np.zeros would take memory only as the table fills, and might fail hours later
            return array

        return cls(
            counts=zeros(d_mlp, N_BINS + 2),
            power_sums=exact_sum.empty(4, d_mlp),
            extremes=np.repeat(np.array([[np.inf], [-np.inf]], dtype=np.float32), d_mlp, axis=1),
            token_totals=token_totals.empty(d_vocab if options.by_token else 0, d_mlp),
            source_mass=zeros(MAX_SOURCES, d_mlp),
            base=np.full(d_mlp, ranges.first_base(), dtype=np.int32),
            ranges=example_lists.empty(
                d_mlp * ranges.N_LISTS, options.range_samples, options.sample_window, n_hooks, d_vocab
            ),
            top=example_lists.empty(d_mlp, options.top_k, options.window, n_hooks, d_vocab),
            bottom=example_lists.empty(d_mlp, options.top_k, options.sample_window, n_hooks, d_vocab),
        )

    def merge(self, other: "HookStatistics", rows: npt.NDArray[np.int64]) -> None:
        """Add the statistics of another part of the corpus.

        Args:
            other: statistics with equal options.
            rows: `[n_sources]` for each source of `other` its row in this `source_mass`.
        """
        self.counts += other.counts
        self.power_sums = exact_sum.carried(self.power_sums + other.power_sums)  # so no digit can overflow
        self.extremes[0] = np.minimum(self.extremes[0], other.extremes[0])
        self.extremes[1] = np.maximum(self.extremes[1], other.extremes[1])
        for first in range(0, len(self.token_totals), _TOKENS_AT_ONCE):
            part = slice(first, first + _TOKENS_AT_ONCE)
            token_totals.add(self.token_totals[part], token_totals.whole(other.token_totals[part]))
        self.source_mass[rows] += other.source_mass[: len(rows)]
        # Both must track the same bins before their samples can be merged.
        base = np.maximum(self.base, other.base)
        self.ranges = example_lists.merge(
            ranges.rebased(self.ranges, self.base, base), ranges.rebased(other.ranges, other.base, base)
        )
        self.base = base
        self.top = example_lists.merge(self.top, other.top)
        self.bottom = example_lists.merge(self.bottom, other.bottom)

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the arrays take."""
        return sum(array.nbytes for array in self.arrays().values())

    def canonicalize(self) -> None:
        """Bring all arrays into canonical form: equal statistics have equal bytes."""
        self.power_sums = exact_sum.carried(self.power_sums)
        self.extremes += np.float32(0.0)  # -0 becomes +0: which zero came first must not matter
        for name in ("ranges", "top", "bottom"):
            lists = getattr(self, name)
            setattr(self, name, example_lists.canonical(lists, lists.k))

    def arrays(self) -> dict[str, Array]:
        """Return every array by its name in a state's file."""
        arrays: dict[str, Array] = {}
        for field in fields(self):
            value: Any = getattr(self, field.name)
            if isinstance(value, ExampleLists):
                arrays |= {f"{field.name}.{n}": a for n, a in zip(ExampleLists._fields, value, strict=True)}
            else:
                arrays[field.name] = value
        return arrays

    @classmethod
    def from_arrays(cls, arrays: dict[str, Array]) -> "HookStatistics":
        """Return the statistics whose `arrays` these are."""
        values: dict[str, Any] = {}
        for field in fields(cls):
            if field.name in arrays:
                values[field.name] = arrays[field.name]
            else:
                values[field.name] = ExampleLists(
                    *(arrays[f"{field.name}.{n}"] for n in ExampleLists._fields)
                )
        return cls(**values)
