"""The files of a cache: how a row is found in them. Older versions are in `old_files.py`."""

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
    """An example as it is stored, without its document's provenance."""

    interval: int | None
    """Index of a sampled example's range, None for other kinds."""
    value: float
    """Activation at the peak."""
    tokens: npt.NDArray[np.int32]
    """`[n]` tokens of the window."""
    activations: dict[str, npt.NDArray[np.float32]]
    """`[n]` by hook."""
    peak: int
    """Index of the peak in the window."""
    position: int
    """Index of the peak in the document."""
    context_start: int
    """Index in the document of the context's first token after the BOS."""
    document: int
    """Name of the document (version 1: its number)."""


GROUPS_HELD = 8
"""Row groups of each kind that stay in memory, since a page reads several parts of one neuron."""


class Files(ABC):
    """The files of a cache of any version, for reading."""

    names: tuple[str, ...]
    """Files and folders that every cache of the version has."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder, self.manifest = folder, manifest

    @abstractmethod
    def moments(self, layer: int, neuron: int, hook: str) -> Row:
        """Return count, extremes and moments of a neuron, by the names of `histogram.Moments`."""

    @abstractmethod
    def profile(self, layer: int, neuron: int, hook: str) -> Row:
        """Return the columns of a neuron's profile: histogram, ranges, tokens, sources."""

    @abstractmethod
    def examples(self, layer: int, neuron: int, hook: str, kind: Kind) -> list[StoredExample]:
        """Return a neuron's examples of a kind, in order."""

    @abstractmethod
    def table(self, layer: int, hook: str, *, histograms: bool) -> pa.Table:
        """Return the rows of a layer and hook, see `NeuronCache.table`."""

    @abstractmethod
    def neurons_for(self, token: int, layer: int, hook: str) -> list[tuple[int, float]]:
        """Return the neurons of highest mean on a token, see `NeuronCache.neurons_for`."""

    @abstractmethod
    def sample(self) -> pa.Table:
        """Return the sample of contexts, see `NeuronCache.sample`."""

    @abstractmethod
    def context(self, document: int, start: int) -> npt.NDArray[np.int32] | None:
        """Return the tokens of a whole context, None where it is not stored, see `NeuronCache.context`."""

    @abstractmethod
    def contexts_kept(self) -> tuple[list[str], int] | None:
        """Return the kinds and the number of ranks of the examples whose whole contexts are stored."""

    def read(self, name: str, **options: Any) -> pa.Table:
        """Return a file or folder as a table; the options are those of `pyarrow.parquet.read_table`.

        Raises:
            CacheError: it is damaged.
        """
        try:
            return pq.read_table(self.folder / name, **options)
        except (pa.ArrowException, OSError) as error:
            raise self.damaged(name, error) from error

    def damaged(self, name: str, reason: object) -> CacheError:
        """Return the error for a damaged file."""
        return CacheError(
            f"{self.folder / name} is damaged ({reason}): copy it again or build the cache again"
        )


class FilesV3(Files):
    """Files of versions 3 and 4: a neuron's index gives the file and the row group of its rows.

    Row groups, profiles and examples that were read last stay in memory.
    """

    names = (
        schema.VOCABULARY, schema.NEURONS, schema.TOKENS, schema.SAMPLE, schema.DOCUMENTS, schema.PROFILES,
        schema.EXAMPLES,
    )  # fmt: skip

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        super().__init__(folder, manifest)
        # A cache for each object, not for the class: it ends with the object.
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
        """Read a neuron's examples, by kind."""
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
        histogram_columns = pa.concat_tables(parts)
        if len(histogram_columns) != len(table):
            raise self.damaged(schema.PROFILES, f"{len(histogram_columns)} rows for {len(table)} neurons")
        for name in histogram_columns.column_names:
            table = table.append_column(name, histogram_columns[name])
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
            metadata = pq.read_schema(self.folder / schema.CONTEXTS).metadata
            return metadata[b"kinds"].decode().split(","), int(metadata[b"ranks"])
        except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
            raise self.damaged(schema.CONTEXTS, error) from error

    @property
    def _per_part(self) -> int:
        assert self.manifest.neurons_per_part is not None  # checked by the manifest
        return self.manifest.neurons_per_part

    @cached_property
    def _tables(self) -> dict[tuple[int, str], pa.Table]:
        return {}

    def _layer(self, layer: int, hook: str) -> pa.Table:
        """Return the rows of a layer and hook, which are read once and kept."""
        key = (layer, hook)
        if key not in self._tables:
            table = self.read(schema.NEURONS, filters=[("layer", "=", layer), ("hook", "=", hook)])
            if table["neuron"].to_pylist() != list(range(self.manifest.model.d_mlp)):
                raise self.damaged(schema.NEURONS, f"it lacks neurons of layer {layer}")
            self._tables[key] = table
        return self._tables[key]

    def _place(self, layer: int, neuron: int) -> tuple[int, int, int]:
        """Return the layer, the first neuron of the file and the row group of a neuron."""
        within = neuron % self._per_part
        return layer, neuron - within, within // schema.NEURONS_PER_ROW_GROUP

    def _read_group(self, kind: str, layer: int, first: int, group: int) -> tuple[pa.Table, str]:
        """Read a row group; return it and the name of its file."""
        name = f"{kind}/{schema.part_name(layer, first, self._per_part)}"
        try:
            with pa.OSFile(str(self.folder / name)) as file:
                return pq.ParquetFile(file, pre_buffer=False).read_row_group(group, use_threads=False), name
        except (pa.ArrowException, OSError, IndexError) as error:
            raise self.damaged(name, error) from error

    def _one(self, table: pa.Table, name: str, neuron: int) -> Row:
        """Return the only row of a table, or raise the error that its file is damaged."""
        if len(table) != 1:
            raise self.damaged(name, f"{len(table)} rows for neuron {neuron}")
        row: Row = table.to_pylist()[0]
        return row


def of_neuron(table: pa.Table, neuron: int) -> pa.Table:
    """Return the rows of a neuron in a sorted table, as a view; filtering would copy every column."""
    first, last = np.searchsorted(table["neuron"].to_numpy(), [neuron, neuron + 1])
    return table.slice(first, last - first)


def at_hook(table: pa.Table, hook: str) -> pa.Table:
    """Return the rows of a hook among those of one neuron, which are sorted."""
    hooks = table["hook"].to_pylist()
    first = bisect_left(hooks, hook)
    return table.slice(first, bisect_right(hooks, hook) - first)


def stored_examples(table: pa.Table, hooks: Sequence[str]) -> dict[str, list[StoredExample]]:
    """Return the examples of a sorted table, by kind.

    Tokens and activations are slices of one array each, since making a Python number of each of them would
    take longer than all the rest.
    """
    tokens = table["tokens"].combine_chunks()
    # Copy: a view would keep the whole row group in memory for as long as one of its examples.
    windows = _split(tokens.flatten().to_numpy().copy(), np.diff(tokens.offsets.to_numpy()))
    activations: list[dict[str, npt.NDArray[np.float32]]] = [{} for _ in windows]
    for hook in hooks:
        levels = table[f"levels_{hook}"].to_pylist()
        low, high = (table[f"{end}_{hook}"].to_numpy() for end in ("low", "high"))
        lengths = np.array([len(window) for window in levels], dtype=np.int64)
        span = (high.astype(np.float64) - low).astype(np.float32)
        flat = np.frombuffer(b"".join(levels), dtype=np.uint8).astype(np.float32) / 255
        values = _split(np.repeat(low, lengths) + flat * np.repeat(span, lengths), lengths)
        for by_hook, window in zip(activations, values, strict=True):
            by_hook[hook] = window
    # All columns in one go: a dictionary for each row would be slower.
    names = ("kind", "range", "value", "peak", "position", "context_start", "document")
    kinds, interval, value, *others = (table[name].to_pylist() for name in names)
    examples = list(map(StoredExample, interval, value, windows, activations, *others))
    return {kind: examples[bisect_left(kinds, kind) : bisect_right(kinds, kind)] for kind in get_args(Kind)}


def _split(values: npt.NDArray[Any], lengths: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
    """Split an array into consecutive parts of these lengths."""
    ends = np.cumsum(lengths)
    return [values[a:b] for a, b in zip((ends - lengths).tolist(), ends.tolist(), strict=True)]
