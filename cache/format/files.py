"""The files of a cache, version by version: where a row is and how it is found."""

from abc import ABC, abstractmethod
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from cache.format import schema
from cache.format.schema import CacheError, Kind, Manifest

Row = dict[str, Any]


class StoredExample(NamedTuple):
    """An example as the files have it."""

    interval: int | None
    """Of a sampled one, an index into the neuron's intervals."""
    value: float
    tokens: npt.NDArray[np.int32]
    activations: dict[str, npt.NDArray[np.float32]]
    """By hook."""
    peak: int
    position: int
    context_start: int
    document: int


GROUPS_HELD = 8
"""Row groups of each kind that stay in memory: a page asks for several parts of one neuron."""


class Files(ABC):
    """What reading needs of any version."""

    names: tuple[str, ...]
    """Files and folders that must be there."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder, self.manifest = folder, manifest

    @abstractmethod
    def moments(self, layer: int, neuron: int, hook: str) -> Row:
        """Count, extremes and moments of a neuron, by the names of `histogram.Moments`."""

    @abstractmethod
    def profile(self, layer: int, neuron: int, hook: str) -> Row:
        """A neuron's histogram, intervals, tokens and sources."""

    @abstractmethod
    def examples(self, layer: int, neuron: int, hook: str, kind: Kind) -> list[StoredExample]:
        """A neuron's examples of a kind, in order."""

    @abstractmethod
    def table(self, layer: int, hook: str, *, histograms: bool) -> pa.Table:
        """See `NeuronCache.table`."""

    @abstractmethod
    def neurons_for(self, token: int, layer: int, hook: str) -> list[tuple[int, float]]:
        """See `NeuronCache.neurons_for`."""

    @abstractmethod
    def sample(self) -> pa.Table:
        """See `NeuronCache.sample`."""

    @abstractmethod
    def context(self, document: int, start: int) -> npt.NDArray[np.int32] | None:
        """See `NeuronCache.context`."""

    @abstractmethod
    def contexts_kept(self) -> tuple[list[str], int] | None:
        """The kinds of examples whose whole contexts there are, and of how many ranks."""

    def read(self, name: str, **how: Any) -> pa.Table:
        """A whole file or folder as a table.

        Raises:
            CacheError: it is damaged.
        """
        try:
            return pq.read_table(self.folder / name, **how)
        except (pa.ArrowException, OSError) as error:
            raise self.damaged(name, error) from error

    def damaged(self, name: str, what: object) -> CacheError:
        """The error that names a damaged file."""
        return CacheError(f"{self.folder / name} is damaged ({what}): copy it again or build the cache again")


class FilesV3(Files):
    """Version 3: a neuron's rows are in a row group of a file that its number names."""

    names = (
        schema.VOCABULARY, schema.NEURONS, schema.TOKENS, schema.SAMPLE, schema.DOCUMENTS, schema.PROFILES,
        schema.EXAMPLES,
    )  # fmt: skip

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        super().__init__(folder, manifest)
        self._group = lru_cache(2 * GROUPS_HELD)(self._read_group)
        self._one_profile = lru_cache(2 * GROUPS_HELD)(self._read_profile)
        self._own_examples = lru_cache(2 * GROUPS_HELD)(self._read_examples)

    def moments(self, layer: int, neuron: int, hook: str) -> Row:
        profile = self.profile(layer, neuron, hook)
        return {name: profile[name] for name in schema.MOMENTS}

    def profile(self, layer: int, neuron: int, hook: str) -> Row:
        return self._one_profile(layer, neuron, hook)

    def _read_profile(self, layer: int, neuron: int, hook: str) -> Row:
        table, name = self._group(schema.PROFILES, *self._place(layer, neuron))
        return self._one(at_hook(of_neuron(table, neuron), hook), name, neuron)

    def examples(self, layer: int, neuron: int, hook: str, kind: Kind) -> list[StoredExample]:
        return self._own_examples(layer, neuron, hook).get(kind, [])

    def _read_examples(self, layer: int, neuron: int, hook: str) -> dict[str, list[StoredExample]]:
        """A neuron's examples by kind."""
        table, _ = self._group(schema.EXAMPLES, *self._place(layer, neuron))
        return stored_examples(at_hook(of_neuron(table, neuron), hook), self.manifest.hooks)

    def table(self, layer: int, hook: str, *, histograms: bool) -> pa.Table:
        table = self._layer(layer, hook)
        if not histograms:
            return table
        parts = [
            self.read(
                f"{schema.PROFILES}/{schema.part_name(layer, first, self._per_part)}",
                columns=["bins", "bin_counts"],
                filters=[("hook", "=", hook)],
            )
            for first in range(0, self.manifest.model.d_mlp, self._per_part)
        ]
        more = pa.concat_tables(parts)
        if len(more) != len(table):
            raise self.damaged(schema.PROFILES, f"{len(more)} rows for {len(table)} neurons")
        for name in more.column_names:
            table = table.append_column(name, more[name])
        return table

    def neurons_for(self, token: int, layer: int, hook: str) -> list[tuple[int, float]]:
        filters = [("token", "=", token), ("layer", "=", layer), ("hook", "=", hook)]
        rows = self.read(schema.TOKENS, filters=filters).to_pylist()
        return list(zip(rows[0]["neurons"], rows[0]["means"], strict=True)) if rows else []

    def sample(self) -> pa.Table:
        return self.read(schema.SAMPLE)

    def context(self, document: int, start: int) -> npt.NDArray[np.int32] | None:
        filters = [("document", "=", document), ("context_start", "=", start)]
        rows = self.read(schema.CONTEXTS, filters=filters)["tokens"].combine_chunks()
        return rows[0].values.to_numpy() if len(rows) else None

    def contexts_kept(self) -> tuple[list[str], int] | None:
        if not (self.folder / schema.CONTEXTS).exists():
            return None
        try:
            said = pq.read_schema(self.folder / schema.CONTEXTS).metadata
            return said[b"kinds"].decode().split(","), int(said[b"ranks"])
        except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
            raise self.damaged(schema.CONTEXTS, error) from error

    @property
    def _per_part(self) -> int:
        assert self.manifest.neurons_per_part is not None  # the manifest's own check
        return self.manifest.neurons_per_part

    @cached_property
    def _tables(self) -> dict[tuple[int, str], pa.Table]:
        return {}

    def _layer(self, layer: int, hook: str) -> pa.Table:
        """The rows of a layer and hook, read once."""
        key = (layer, hook)
        if key not in self._tables:
            table = self.read(schema.NEURONS, filters=[("layer", "=", layer), ("hook", "=", hook)])
            if table["neuron"].to_pylist() != list(range(self.manifest.model.d_mlp)):
                raise self.damaged(schema.NEURONS, f"not all neurons of layer {layer} are in it")
            self._tables[key] = table
        return self._tables[key]

    def _place(self, layer: int, neuron: int) -> tuple[int, int, int]:
        """Layer, first neuron of the file and row group that hold a neuron."""
        within = neuron % self._per_part
        return layer, neuron - within, within // schema.NEURONS_PER_ROW_GROUP

    def _read_group(self, kind: str, layer: int, first: int, group: int) -> tuple[pa.Table, str]:
        """A row group, and the file's name."""
        name = f"{kind}/{schema.part_name(layer, first, self._per_part)}"
        try:
            with pa.OSFile(str(self.folder / name)) as file:
                return pq.ParquetFile(file, pre_buffer=False).read_row_group(group, use_threads=False), name
        except (pa.ArrowException, OSError, IndexError) as error:
            raise self.damaged(name, error) from error

    def _one(self, table: pa.Table, name: str, neuron: int) -> Row:
        if len(table) != 1:
            raise self.damaged(name, f"{len(table)} rows for neuron {neuron}")
        row: Row = table.to_pylist()[0]
        return row


def of_neuron(table: pa.Table, neuron: int) -> pa.Table:
    """The rows of a neuron, in a table in their order: a view, where filtering copies every column."""
    first, last = np.searchsorted(table["neuron"].to_numpy(), [neuron, neuron + 1])
    return table.slice(first, last - first)


def at_hook(table: pa.Table, hook: str) -> pa.Table:
    """The rows of a hook, of one neuron's in order."""
    hooks = table["hook"].to_pylist()
    first = bisect_left(hooks, hook)
    return table.slice(first, bisect_right(hooks, hook) - first)


def stored_examples(table: pa.Table, hooks: Sequence[str]) -> dict[str, list[StoredExample]]:
    """Examples by kind, of a table in order. Their tokens, and what their levels stand for, are parts of one
    array each: a Python number for each would take longer than all the rest."""
    tokens = table["tokens"].combine_chunks()
    # Copied: a view would keep the whole row group in memory as long as one of its examples.
    windows = _parts(tokens.flatten().to_numpy().copy(), np.diff(tokens.offsets.to_numpy()))
    activations: list[dict[str, npt.NDArray[np.float32]]] = [{} for _ in windows]
    for hook in hooks:
        steps = table[f"levels_{hook}"].to_pylist()
        low, high = (table[f"{end}_{hook}"].to_numpy() for end in ("low", "high"))
        lengths = np.array([len(s) for s in steps], dtype=np.int64)
        span = (high.astype(np.float64) - low).astype(np.float32)
        flat = np.frombuffer(b"".join(steps), dtype=np.uint8).astype(np.float32) / 255
        values = _parts(np.repeat(low, lengths) + flat * np.repeat(span, lengths), lengths)
        for one, own in zip(activations, values, strict=True):
            one[hook] = own
    names = ("kind", "range", "value", "peak", "position", "context_start", "document")
    kinds, interval, value, *others = (table[name].to_pylist() for name in names)
    found = list(map(StoredExample, interval, value, windows, activations, *others))
    return {kind: found[bisect_left(kinds, kind) : bisect_right(kinds, kind)] for kind in get_args(Kind)}


def _parts(values: npt.NDArray[Any], lengths: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
    """An array's parts of these lengths, one after the other."""
    ends = np.cumsum(lengths)
    return [values[a:b] for a, b in zip((ends - lengths).tolist(), ends.tolist(), strict=True)]
