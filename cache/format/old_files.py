"""Files of older versions, as far as they differ from the present one (docs/cache_format.md)."""

from functools import cached_property, lru_cache
from pathlib import Path
from threading import Lock

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cache.format import schema
from cache.format.files import GROUPS_HELD, Files, FilesV3, Row, StoredExample, stored_examples
from cache.format.schema import Kind, Manifest

_NO_PROFILE: Row = {
    name: [] for name in schema.PROFILES_SCHEMA.names if name.startswith(("range_", "token", "source"))
}


class FilesV2(FilesV3):
    """Files of version 2: moments are only in `neurons.parquet`, with thousands of neurons in a row group."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        super().__init__(folder, manifest)
        self._some_moments = lru_cache(GROUPS_HELD)(self._read_moments)

    def moments(self, layer: int, neuron: int, hook: str) -> Row:
        for first, last, group in self._neuron_groups.get((layer, hook), []):
            if first <= neuron <= last:
                return self._one(self._some_moments(group).slice(neuron - first, 1), schema.NEURONS, neuron)
        raise self.damaged(schema.NEURONS, f"no row for neuron {neuron} of layer {layer} at {hook}")

    @cached_property
    def _neurons_metadata(self) -> pq.FileMetaData:
        try:
            return pq.read_metadata(self.folder / schema.NEURONS)
        except (pa.ArrowException, OSError) as error:
            raise self.damaged(schema.NEURONS, error) from error

    @cached_property
    def _neuron_groups(self) -> dict[tuple[int, str], list[tuple[int, int, int]]]:
        """First neuron, last neuron and index of each row group of `neurons.parquet`, by layer and hook."""
        groups: dict[tuple[int, str], list[tuple[int, int, int]]] = {}
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
            groups.setdefault((layer.min, hook.min), []).append((neuron.min, neuron.max, group))
        return groups

    def _read_moments(self, group: int) -> pa.Table:
        """Read the moments in a row group of `neurons.parquet`."""
        try:
            with pq.ParquetFile(self.folder / schema.NEURONS, metadata=self._neurons_metadata) as file:
                return file.read_row_group(group, columns=["neuron", *schema.MOMENTS], use_threads=False)
        except (pa.ArrowException, OSError) as error:
            raise self.damaged(schema.NEURONS, error) from error


class FilesV1(Files):
    """Files of version 1: one of all statistics, one of all examples with 16 neurons in a row group."""

    names = (schema.VOCABULARY, schema.NEURONS, "examples.parquet", schema.DOCUMENTS)
    _PER_GROUP = 16

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        super().__init__(folder, manifest)
        self._lock = Lock()

    def moments(self, layer: int, neuron: int, hook: str) -> Row:
        row = self._rows.get((layer, neuron, hook))
        if row is None:
            raise self.damaged(schema.NEURONS, f"no row for neuron {neuron} of layer {layer} at {hook}")
        moments: Row = self._neurons.slice(row, 1).to_pylist()[0]
        return moments

    def profile(self, layer: int, neuron: int, hook: str) -> Row:
        return _NO_PROFILE | self.moments(layer, neuron, hook)

    def examples(self, layer: int, neuron: int, hook: str, kind: Kind) -> list[StoredExample]:
        if kind != "top":
            return []
        groups = -(-self.manifest.model.d_mlp // self._PER_GROUP)
        group = self.manifest.layers.index(layer) * groups + neuron // self._PER_GROUP
        try:
            with self._lock:  # threads would move each other's position in the file
                table = self._example_file.read_row_group(group)
        except (pa.ArrowException, OSError, IndexError) as error:
            raise self.damaged("examples.parquet", error) from error
        wanted = pc.and_(pc.equal(table["neuron"], neuron), pc.equal(table["hook"], hook))
        own = table.filter(wanted)
        for name, value in (("kind", pa.scalar("top")), ("range", pa.scalar(None, pa.int32()))):
            own = own.append_column(name, pa.repeat(value, len(own)))
        return stored_examples(own, self.manifest.hooks)[kind]

    def table(self, layer: int, hook: str, *, histograms: bool) -> pa.Table:
        rows = pc.and_(pc.equal(self._neurons["layer"], layer), pc.equal(self._neurons["hook"], hook))
        names = [n for n in self._neurons.column_names if n in schema.NEURONS_SCHEMA.names]
        return self._neurons.filter(rows).select([*names, "bins", "bin_counts"] if histograms else names)

    def neurons_for(self, token: int, layer: int, hook: str) -> list[tuple[int, float]]:
        return []

    def sample(self) -> pa.Table:
        return schema.SAMPLE_SCHEMA.empty_table()

    def context(self, document: int, start: int) -> npt.NDArray[np.int32] | None:
        return None

    def contexts_kept(self) -> tuple[list[str], int] | None:
        return None

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
