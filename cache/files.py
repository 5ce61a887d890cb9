"""The files of a cache, version by version: where a row is and how it is found."""

from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cache import schema
from cache.schema import CacheError, Kind, Manifest

Row = dict[str, Any]

_NO_PROFILE: Row = {
    name: [] for name in schema.PROFILES_SCHEMA.names if name.startswith(("range_", "token", "source"))
}


class Files:
    """What reading needs of any version."""

    names: tuple[str, ...]
    """Files and folders that must be there."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder, self.manifest = folder, manifest

    def summary(self, layer: int, neuron: int, hook: str) -> Row:
        """A neuron's row of `neurons.parquet`."""
        raise NotImplementedError

    def profile(self, layer: int, neuron: int, hook: str) -> Row:
        """A neuron's histogram, intervals, tokens and sources."""
        raise NotImplementedError

    def examples(self, layer: int, neuron: int, hook: str, kind: Kind) -> list[Row]:
        """A neuron's examples of a kind, in order."""
        raise NotImplementedError

    def table(self, layer: int, hook: str, *, histograms: bool) -> pa.Table:
        """See `NeuronCache.table`."""
        raise NotImplementedError

    def neurons_for(self, token: int, layer: int, hook: str) -> list[tuple[int, float]]:
        """See `NeuronCache.neurons_for`."""
        raise NotImplementedError

    def sample(self) -> pa.Table:
        """See `NeuronCache.sample`."""
        raise NotImplementedError

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

    def summary(self, layer: int, neuron: int, hook: str) -> Row:
        return self._one(self._layer(layer, hook).slice(neuron, 1), schema.NEURONS, neuron)

    def profile(self, layer: int, neuron: int, hook: str) -> Row:
        table, name = self._group(schema.PROFILES, layer, neuron)
        wanted = pc.and_(pc.equal(table["neuron"], neuron), pc.equal(table["hook"], hook))
        return self._one(table.filter(wanted), name, neuron)

    def examples(self, layer: int, neuron: int, hook: str, kind: Kind) -> list[Row]:
        table, _ = self._group(schema.EXAMPLES, layer, neuron)
        wanted = pc.and_(
            pc.and_(pc.equal(table["neuron"], neuron), pc.equal(table["hook"], hook)),
            pc.equal(table["kind"], kind),
        )
        rows: list[Row] = table.filter(wanted).to_pylist()
        return rows

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

    def _group(self, kind: str, layer: int, neuron: int) -> tuple[pa.Table, str]:
        """The row group that holds a neuron, and the file's name."""
        name = f"{kind}/{schema.part_name(layer, neuron, self._per_part)}"
        group = neuron % self._per_part // schema.NEURONS_PER_ROW_GROUP
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

    def summary(self, layer: int, neuron: int, hook: str) -> Row:
        row = self._rows.get((layer, neuron, hook))
        if row is None:
            raise self.damaged(schema.NEURONS, f"no row for neuron {neuron} of layer {layer} at {hook}")
        found: Row = self._neurons.slice(row, 1).to_pylist()[0]
        return found

    def profile(self, layer: int, neuron: int, hook: str) -> Row:
        return _NO_PROFILE | self.summary(layer, neuron, hook)

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
        rows: list[Row] = table.filter(wanted).to_pylist()
        return rows

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
