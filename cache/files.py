"""The files of a cache, version by version: where a row is and how it is found."""

from abc import ABC, abstractmethod
from functools import cached_property, lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cache import schema
from cache.schema import CacheError, Kind, Manifest

Row = dict[str, Any]

_GROUPS_HELD = 8
"""Row groups of each kind that stay in memory: a page asks for several parts of one neuron."""
_MOMENTS = ["neuron", "count", "n_nan", "n_inf", "min", "max", "mean", "std", "skewness", "kurtosis"]

_NO_PROFILE: Row = {
    name: [] for name in schema.PROFILES_SCHEMA.names if name.startswith(("range_", "token", "source"))
}


class Files(ABC):
    """What reading needs of any version."""

    names: tuple[str, ...]
    """Files and folders that must be there."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder, self.manifest = folder, manifest

    @abstractmethod
    def moments(self, layer: int, neuron: int, hook: str) -> Row:
        """Count, extremes and moments of a neuron, by the names of `cache.histogram.Moments`."""

    @abstractmethod
    def profile(self, layer: int, neuron: int, hook: str) -> Row:
        """A neuron's histogram, intervals, tokens and sources."""

    @abstractmethod
    def examples(self, layer: int, neuron: int, hook: str, kind: Kind) -> list[Row]:
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


class FilesV2(Files):
    """Version 2: a neuron's rows are in a row group of a file that its number names."""

    names = (
        schema.VOCABULARY, schema.NEURONS, schema.TOKENS, schema.SAMPLE, schema.DOCUMENTS, schema.PROFILES,
        schema.EXAMPLES,
    )  # fmt: skip

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        super().__init__(folder, manifest)
        self._group = lru_cache(2 * _GROUPS_HELD)(self._read_group)
        self._one_profile = lru_cache(2 * _GROUPS_HELD)(self._read_profile)
        self._some_moments = lru_cache(_GROUPS_HELD)(self._read_moments)

    def moments(self, layer: int, neuron: int, hook: str) -> Row:
        for first, last, group in self._neuron_groups.get((layer, hook), []):
            if first <= neuron <= last:
                return self._one(self._some_moments(group).slice(neuron - first, 1), schema.NEURONS, neuron)
        raise self.damaged(schema.NEURONS, f"no row for neuron {neuron} of layer {layer} at {hook}")

    def profile(self, layer: int, neuron: int, hook: str) -> Row:
        return self._one_profile(layer, neuron, hook)

    def _read_profile(self, layer: int, neuron: int, hook: str) -> Row:
        table, name = self._group(schema.PROFILES, *self._place(layer, neuron))
        wanted = pc.and_(pc.equal(table["neuron"], neuron), pc.equal(table["hook"], hook))
        return self._one(table.filter(wanted), name, neuron)

    def examples(self, layer: int, neuron: int, hook: str, kind: Kind) -> list[Row]:
        table, _ = self._group(schema.EXAMPLES, *self._place(layer, neuron))
        wanted = pc.and_(
            pc.and_(pc.equal(table["neuron"], neuron), pc.equal(table["hook"], hook)),
            pc.equal(table["kind"], kind),
        )
        return _example_rows(table.filter(wanted))

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

    @cached_property
    def _neurons_metadata(self) -> pq.FileMetaData:
        try:
            return pq.read_metadata(self.folder / schema.NEURONS)
        except (pa.ArrowException, OSError) as error:
            raise self.damaged(schema.NEURONS, error) from error

    @cached_property
    def _neuron_groups(self) -> dict[tuple[int, str], list[tuple[int, int, int]]]:
        """For a layer and hook, the first and last neuron of each of its row groups in `neurons.parquet`."""
        found: dict[tuple[int, str], list[tuple[int, int, int]]] = {}
        names = schema.NEURONS_SCHEMA.names
        columns = [names.index(name) for name in ("layer", "hook", "neuron")]
        for group in range(self._neurons_metadata.num_row_groups):
            row_group = self._neurons_metadata.row_group(group)
            layer, hook, neuron = (row_group.column(column).statistics for column in columns)
            if (
                layer is None
                or hook is None
                or neuron is None
                or (layer.min, hook.min) != (layer.max, hook.max)
            ):
                raise self.damaged(schema.NEURONS, "a row group is not of one layer and hook")
            found.setdefault((layer.min, hook.min), []).append((neuron.min, neuron.max, group))
        return found

    def _read_moments(self, group: int) -> pa.Table:
        """The moments in a row group of `neurons.parquet`."""
        try:
            with pq.ParquetFile(self.folder / schema.NEURONS, metadata=self._neurons_metadata) as file:
                return file.read_row_group(group, columns=_MOMENTS, use_threads=False)
        except (pa.ArrowException, OSError) as error:
            raise self.damaged(schema.NEURONS, error) from error

    def _place(self, layer: int, neuron: int) -> tuple[int, int, int]:
        """Layer, first neuron of the file and row group that hold a neuron."""
        within = neuron % self._per_part
        return layer, neuron - within, within // schema.NEURONS_PER_ROW_GROUP

    def _read_group(self, kind: str, layer: int, first: int, group: int) -> tuple[pa.Table, str]:
        """A row group, and the file's name."""
        name = f"{kind}/{schema.part_name(layer, first, self._per_part)}"
        try:
            with pq.ParquetFile(self.folder / name) as file:
                return file.read_row_group(group, use_threads=False), name
        except (pa.ArrowException, OSError, IndexError) as error:
            raise self.damaged(name, error) from error

    def _one(self, table: pa.Table, name: str, neuron: int) -> Row:
        if len(table) != 1:
            raise self.damaged(name, f"{len(table)} rows for neuron {neuron}")
        row: Row = table.to_pylist()[0]
        return row


class FilesV1(Files):
    """Version 1: all statistics in one file, all examples in another with 16 neurons a row group."""

    names = (schema.VOCABULARY, schema.NEURONS, "examples.parquet", schema.DOCUMENTS)
    _PER_GROUP = 16

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        super().__init__(folder, manifest)
        self._lock = Lock()

    def moments(self, layer: int, neuron: int, hook: str) -> Row:
        row = self._rows.get((layer, neuron, hook))
        if row is None:
            raise self.damaged(schema.NEURONS, f"no row for neuron {neuron} of layer {layer} at {hook}")
        found: Row = self._neurons.slice(row, 1).to_pylist()[0]
        return found

    def profile(self, layer: int, neuron: int, hook: str) -> Row:
        return _NO_PROFILE | self.moments(layer, neuron, hook)

    def examples(self, layer: int, neuron: int, hook: str, kind: Kind) -> list[Row]:
        if kind != "top":
            return []
        groups = -(-self.manifest.model.d_mlp // self._PER_GROUP)
        group = self.manifest.layers.index(layer) * groups + neuron // self._PER_GROUP
        try:
            with self._lock:  # a ParquetFile's position is shared
                table = self._example_file.read_row_group(group)
        except (pa.ArrowException, OSError, IndexError) as error:
            raise self.damaged("examples.parquet", error) from error
        wanted = pc.and_(pc.equal(table["neuron"], neuron), pc.equal(table["hook"], hook))
        return _example_rows(table.filter(wanted))

    def table(self, layer: int, hook: str, *, histograms: bool) -> pa.Table:
        rows = pc.and_(pc.equal(self._neurons["layer"], layer), pc.equal(self._neurons["hook"], hook))
        names = [n for n in self._neurons.column_names if n in schema.NEURONS_SCHEMA.names]
        return self._neurons.filter(rows).select([*names, "bins", "bin_counts"] if histograms else names)

    def neurons_for(self, token: int, layer: int, hook: str) -> list[tuple[int, float]]:
        return []

    def sample(self) -> pa.Table:
        return schema.SAMPLE_SCHEMA.empty_table()

    @cached_property
    def _neurons(self) -> pa.Table:
        return self.read(schema.NEURONS)

    @cached_property
    def _rows(self) -> dict[tuple[int, int, str], int]:
        t = self._neurons
        keys = zip(t["layer"].to_pylist(), t["neuron"].to_pylist(), t["hook"].to_pylist(), strict=True)
        return {key: row for row, key in enumerate(keys)}

    @cached_property
    def _example_file(self) -> pq.ParquetFile:
        try:
            return pq.ParquetFile(self.folder / "examples.parquet")
        except (pa.ArrowException, OSError) as error:
            raise self.damaged("examples.parquet", error) from error


def _example_rows(table: pa.Table) -> list[Row]:
    """The rows, their `tokens` as arrays: a Python number for each would take longer than all the rest."""
    rows: list[Row] = table.drop_columns(["tokens"]).to_pylist()
    tokens = table["tokens"].combine_chunks()
    values, starts = tokens.values.to_numpy(), tokens.offsets.to_numpy()
    for row, first, last in zip(rows, starts[:-1], starts[1:], strict=True):
        row["tokens"] = values[first:last]
    return rows
