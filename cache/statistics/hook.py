"""Everything kept about one hook of one layer, whatever part of a corpus it was seen in.

`merge` joins two parts: what results depends on the documents and on nothing else, to the last byte.
"""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from cache.format.histogram import N_BINS
from cache.statistics import by_token, exact_sum, kept, ranges
from cache.statistics.kept import SAMPLE_WINDOW, WINDOW, Array, Kept, Window

_TOKENS = 4096  # whose totals are added at once
MAX_SOURCES = 256
"""Sources whose shares are kept; a corpus with more has its shares dropped."""


@dataclass(frozen=True)
class Keep:
    """How much is kept of each neuron and hook."""

    top_k: int = 20
    """Strongest and weakest examples."""
    range_samples: int = 5
    """Sampled tokens an interval of activation."""
    window: Window = WINDOW
    """Around the peak of a strongest example."""
    sample_window: Window = SAMPLE_WINDOW
    """Around a sampled token or a weakest one."""
    by_token: bool = True
    """Totals by token: a table of V by M, by far the largest where the vocabulary is large."""


@dataclass
class HookStatistics:
    """One hook of one layer; M neurons, V tokens."""

    counts: npt.NDArray[np.int64]
    """`[M, N_BINS + 2]` histogram over every token, see `cache.format.histogram`; then NaN and infinity."""
    power_sums: npt.NDArray[np.int64]
    """`[4, M, N_DIGITS]` exact sums of x, x^2, x^3, x^4, see `exact_sum`."""
    extremes: npt.NDArray[np.float32]
    """`[2, M]` min and max; inf and -inf where nothing was seen."""
    token_totals: npt.NDArray[np.int32]
    """`[V, 2, M]` in words, see `by_token`; `[0, 2, M]` where they are not kept."""
    source_mass: npt.NDArray[np.int64]
    """`[MAX_SOURCES, M]` sums of activation above 0 by source of text, on the grid of `by_token`."""
    base: npt.NDArray[np.int32]
    """`[M]` the first bin with a sample of its own, see `ranges`."""
    ranges: Kept
    """`N_LISTS` lists a neuron."""
    top: Kept
    bottom: Kept

    @classmethod
    def empty(cls, d_mlp: int, n_hooks: int, d_vocab: int, keep: Keep) -> "HookStatistics":
        """Nothing seen yet."""

        def zeros(*shape: int) -> npt.NDArray[np.int64]:
            array = np.empty(shape, dtype=np.int64)
            array.fill(0)  # unlike np.zeros, so that memory does not grow as the table fills
            return array

        return cls(
            counts=zeros(d_mlp, N_BINS + 2),
            power_sums=exact_sum.empty(4, d_mlp),
            extremes=np.repeat(np.array([[np.inf], [-np.inf]], dtype=np.float32), d_mlp, axis=1),
            token_totals=by_token.empty(d_vocab if keep.by_token else 0, d_mlp),
            source_mass=zeros(MAX_SOURCES, d_mlp),
            base=np.full(d_mlp, ranges.first_base(), dtype=np.int32),
            ranges=kept.empty(
                d_mlp * ranges.N_LISTS, keep.range_samples, keep.sample_window, n_hooks, d_vocab
            ),
            top=kept.empty(d_mlp, keep.top_k, keep.window, n_hooks, d_vocab),
            bottom=kept.empty(d_mlp, keep.top_k, keep.sample_window, n_hooks, d_vocab),
        )

    def merge(self, other: "HookStatistics", rows: npt.NDArray[np.int64]) -> None:
        """Take in another part of the corpus; `rows[i]` is the row here of the other's source i."""
        self.counts += other.counts
        self.power_sums = exact_sum.carried(self.power_sums + other.power_sums)
        self.extremes[0] = np.minimum(self.extremes[0], other.extremes[0])
        self.extremes[1] = np.maximum(self.extremes[1], other.extremes[1])
        for first in range(0, len(self.token_totals), _TOKENS):
            part = slice(first, first + _TOKENS)
            by_token.add(self.token_totals[part], by_token.whole(other.token_totals[part]))
        self.source_mass[rows] += other.source_mass[: len(rows)]
        base = np.maximum(self.base, other.base)
        self.ranges = kept.merge(
            ranges.raised(self.ranges, self.base, base), ranges.raised(other.ranges, other.base, base)
        )
        self.base = base
        self.top = kept.merge(self.top, other.top)
        self.bottom = kept.merge(self.bottom, other.bottom)

    @property
    def nbytes(self) -> int:
        """Bytes of memory that it takes."""
        return sum(array.nbytes for array in self.arrays().values())

    def canonical(self) -> None:
        """Put everything in its one form: equal contents are equal bytes."""
        self.power_sums = exact_sum.carried(self.power_sums)
        self.extremes += np.float32(0.0)  # which of two zeros came first is nothing: both are +0
        for name in ("ranges", "top", "bottom"):
            lists = getattr(self, name)
            setattr(self, name, kept.canonical(lists, lists.k))

    def arrays(self) -> dict[str, Array]:
        """Every array by a name, for a file."""
        found: dict[str, Array] = {}
        for field in fields(self):
            value: Any = getattr(self, field.name)
            if isinstance(value, Kept):
                found |= {f"{field.name}.{n}": a for n, a in zip(Kept._fields, value, strict=True)}
            else:
                found[field.name] = value
        return found

    @classmethod
    def from_arrays(cls, arrays: dict[str, Array]) -> "HookStatistics":
        """What `arrays` gave."""
        values: dict[str, Any] = {}
        for field in fields(cls):
            if field.name in arrays:
                values[field.name] = arrays[field.name]
            else:
                values[field.name] = Kept(*(arrays[f"{field.name}.{n}"] for n in Kept._fields))
        return cls(**values)
