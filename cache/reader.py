"""Read a neuron cache: `NeuronCache.open(path)`. Imports neither torch nor the model.

cache = NeuronCache.open("models/solu-1l/neurons")
neuron = cache.neuron(layer=0, index=7)
for example in neuron.top("hook_mid"):
    print(example.value, cache.vocabulary.pieces(example.tokens), example.document.origin)
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import ValidationError

from cache import schema
from cache.histogram import N_BINS, Histogram, Moments
from cache.schema import CacheError, Manifest
from cache.vocabulary import Vocabulary

_SUMMARY = [n for n in schema.NEURONS_SCHEMA.names if n not in ("power_sums", "bins", "bin_counts")]


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a document came from; unknown parts are empty."""

    source: str
    lang: str
    licence: str
    origin: str


@dataclass(frozen=True)
class Example:
    """A stretch of text around one of a neuron's strongest firings."""

    value: float
    """Activation at the peak, exact in float32."""
    tokens: npt.NDArray[np.int32]
    """`[n]` tokens of the window."""
    peak: int
    """Index of the strongest token in `tokens`."""
    activations: dict[str, npt.NDArray[np.float32]]
    """By hook, `[n]`: one of 256 even steps between the window's lowest and highest value."""
    position: int
    """Index of the peak's token in its document."""
    context_start: int
    """Index in the document of the first token (after the BOS) of the context the model saw."""
    document_index: int
    document: Provenance


class Neuron:
    """One neuron's part of a cache."""

    def __init__(self, cache: "NeuronCache", layer: int, index: int) -> None:
        self.layer, self.index, self._cache = layer, index, cache

    def top(self, hook: str) -> list[Example]:
        """The strongest examples at a hook, best first, at most one a document.

        Raises:
            CacheError: the cache does not hold that hook.
        """
        rows = self._cache._examples(self.layer, self.index, self._cache.checked_hook(hook))
        return [self._cache._example(row) for row in rows]

    def histogram(self, hook: str) -> Histogram:
        """Exact counts over every token; errors as in `top`."""
        row = self._cache._statistics(self.layer, self.index, self._cache.checked_hook(hook))
        counts = np.zeros(N_BINS, dtype=np.int64)
        counts[row["bins"]] = row["bin_counts"]
        return Histogram(counts)

    def moments(self, hook: str) -> Moments:
        """Count, extremes and moments over every token; errors as in `top`."""
        row = self._cache._statistics(self.layer, self.index, self._cache.checked_hook(hook))
        names = ("count", "n_nan", "n_inf", "min", "max", "mean", "std", "skewness", "kurtosis")
        return Moments(**{name: row[name] for name in names})


class NeuronCache:
    """A cache opened for reading. Use `open`; safe to share between threads."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path, self.manifest = path, manifest
        self._lock = Lock()

    @classmethod
    def open(cls, path: str | Path) -> "NeuronCache":
        """Open a cache folder.

        Raises:
            CacheError: there is none, it is of another version, or part of it is missing or damaged.
        """
        folder = Path(path)
        file = folder / schema.MANIFEST
        if not file.is_file():
            raise CacheError(
                f"{folder} holds no neuron cache (no {schema.MANIFEST}): make one with "
                f"`solu cache build --model MODEL --data PATH --out {folder}`"
            )
        try:
            manifest = Manifest.model_validate_json(file.read_bytes())
        except ValidationError as error:
            problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:3])
            raise CacheError(
                f"{file} is not a manifest of format {schema.FORMAT} version {schema.VERSION} "
                f"({problems}): build the cache again with this version"
            ) from error
        missing = [
            name
            for name in (schema.VOCABULARY, schema.NEURONS, schema.EXAMPLES, schema.DOCUMENTS)
            if not (folder / name).is_file()
        ]
        if missing:
            raise CacheError(
                f"{folder} lacks {', '.join(missing)}: copy the whole folder or build the cache again"
            )
        return cls(folder, manifest)

    @property
    def layers(self) -> list[int]:
        """Layers that were read, ascending."""
        return self.manifest.layers

    @property
    def d_mlp(self) -> int:
        """Neurons a layer."""
        return self.manifest.model.d_mlp

    @property
    def hooks(self) -> list[str]:
        """`hook_mid` and `hook_post`, or `hook_post` alone for a model without the extra LayerNorm."""
        return list(self.manifest.hooks)

    def neuron(self, layer: int, index: int) -> Neuron:
        """One neuron.

        Raises:
            CacheError: there is no such layer or neuron.
        """
        if layer not in self.layers or not 0 <= index < self.d_mlp:
            layers = ", ".join(map(str, self.layers))
            raise CacheError(
                f"there is no neuron {index} in layer {layer}: this cache holds layers {layers} "
                f"with neurons 0 to {self.d_mlp - 1} each"
            )
        return Neuron(self, layer, index)

    def table(self, layer: int, hook: str, *, histograms: bool = False) -> pa.Table:
        """A row a neuron of a layer, in order: extremes, moments, density, the tokens of its peaks.

        Args:
            histograms: also the columns `bins` and `bin_counts`, the histogram's bins in use.

        Raises:
            CacheError: there is no such layer or hook.
        """
        hook = self.checked_hook(hook)
        self.neuron(layer, 0)
        rows = pc.and_(pc.equal(self._neurons["layer"], layer), pc.equal(self._neurons["hook"], hook))
        columns = [*_SUMMARY, "bins", "bin_counts"] if histograms else _SUMMARY
        return self._neurons.filter(rows).select(columns)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """What tokens say."""
        return Vocabulary(self._read(schema.VOCABULARY)["bytes"].to_pylist())

    def documents(self) -> dict[int, Provenance]:
        """Every document that an example came from, by its index in the corpus."""
        return dict(self._documents)

    def checked_hook(self, hook: str) -> str:
        """The hook, if the cache holds it; else CacheError."""
        if hook not in self.hooks:
            raise CacheError(f"this cache holds {' and '.join(self.hooks)}, not {hook!r}")
        return hook

    @cached_property
    def _neurons(self) -> pa.Table:
        return self._read(schema.NEURONS)

    @cached_property
    def _rows(self) -> dict[tuple[int, int, str], int]:
        t = self._neurons
        keys = zip(t["layer"].to_pylist(), t["neuron"].to_pylist(), t["hook"].to_pylist(), strict=True)
        return {key: row for row, key in enumerate(keys)}

    @cached_property
    def _documents(self) -> dict[int, Provenance]:
        rows = self._read(schema.DOCUMENTS).to_pylist()
        return {r["document"]: Provenance(r["source"], r["lang"], r["licence"], r["origin"]) for r in rows}

    @cached_property
    def _example_file(self) -> pq.ParquetFile:
        try:
            return pq.ParquetFile(self.path / schema.EXAMPLES)
        except (pa.ArrowException, OSError) as error:
            raise self._damaged(schema.EXAMPLES, error) from error

    def _statistics(self, layer: int, index: int, hook: str) -> dict[str, Any]:
        row = self._rows.get((layer, index, hook))
        if row is None:
            raise self._damaged(schema.NEURONS, f"no row for neuron {index} of layer {layer} at {hook}")
        found: dict[str, Any] = self._neurons.slice(row, 1).to_pylist()[0]
        return found

    def _examples(self, layer: int, index: int, hook: str) -> list[dict[str, Any]]:
        groups = -(-self.d_mlp // schema.NEURONS_PER_ROW_GROUP)
        group = self.layers.index(layer) * groups + index // schema.NEURONS_PER_ROW_GROUP
        try:
            with self._lock:  # a ParquetFile's position is shared
                table = self._example_file.read_row_group(group)
        except (pa.ArrowException, OSError, IndexError) as error:
            raise self._damaged(schema.EXAMPLES, error) from error
        wanted = pc.and_(pc.equal(table["neuron"], index), pc.equal(table["hook"], hook))
        rows: list[dict[str, Any]] = table.filter(wanted).to_pylist()
        return rows

    def _example(self, row: dict[str, Any]) -> Example:
        activations = {}
        for hook in self.hooks:
            steps = np.frombuffer(row[f"levels_{hook}"], dtype=np.uint8).astype(np.float32)
            low, high = row[f"low_{hook}"], row[f"high_{hook}"]
            activations[hook] = np.asarray(low + steps / 255 * (high - low), dtype=np.float32)
        document = self._documents.get(row["document"])
        if document is None:
            raise self._damaged(schema.DOCUMENTS, f"no document {row['document']}")
        return Example(
            value=row["value"],
            tokens=np.array(row["tokens"], dtype=np.int32),
            peak=row["peak"],
            activations=activations,
            position=row["position"],
            context_start=row["context_start"],
            document_index=row["document"],
            document=document,
        )

    def _read(self, name: str) -> pa.Table:
        try:
            return pq.read_table(self.path / name)
        except (pa.ArrowException, OSError) as error:
            raise self._damaged(name, error) from error

    def _damaged(self, name: str, what: object) -> CacheError:
        return CacheError(f"{self.path / name} is damaged ({what}): copy it again or build the cache again")
