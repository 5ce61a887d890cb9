"""Read a neuron cache: `NeuronCache.open(path)`. Imports neither torch nor the model.

cache = NeuronCache.open("models/solu-1l/neurons")
neuron = cache.neuron(layer=0, index=7)
for example in neuron.top("hook_mid"):
    print(example.value, cache.vocabulary.pieces(example.tokens), example.document.origin)
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import ValidationError

from cache.format import schema
from cache.format.files import Files, FilesV3, StoredExample
from cache.format.histogram import N_BINS, Histogram, Moments
from cache.format.old_files import FilesV1, FilesV2
from cache.format.schema import CacheError, Kind, Manifest, Provenance
from cache.format.vocabulary import Vocabulary

_FILES: dict[int, type[Files]] = {1: FilesV1, 2: FilesV2, 3: FilesV3}


@dataclass(frozen=True)
class Example:
    """A stretch of text around one of a neuron's tokens: a strongest or weakest firing, or a sampled one."""

    value: float
    """Activation at the peak, exact in float32."""
    tokens: npt.NDArray[np.int32]
    """`[n]` tokens of the window."""
    peak: int
    """Index in `tokens` of the token that it is an example of."""
    activations: dict[str, npt.NDArray[np.float32]]
    """By hook, `[n]`: one of 256 even steps from the lowest to the highest value of the window as built."""
    position: int
    """Index of the peak's token in its document."""
    context_start: int
    """Index in the document of the first token (after the BOS) of the context the model saw."""
    document_index: int
    """The document's name (version 1: its number)."""
    document: Provenance


@dataclass(frozen=True)
class RangeSample:
    """An interval of a neuron's activation: how many tokens lie in it, and some of them, drawn uniformly."""

    low: float
    high: float
    """Edges: low < x <= high at or below zero; low <= x < high above it, the highest to the maximum."""
    count: int
    """Tokens of the corpus in it, exact."""
    examples: list[Example]
    """Sampled without replacement; all of them where there are few."""


@dataclass(frozen=True)
class ContextsKept:
    """Which examples' whole contexts a cache holds."""

    kinds: tuple[Kind, ...]
    n_ranks: int
    """Of each neuron, hook and kind (and interval) the first so many."""

    def of(self, kind: str, rank: int) -> bool:
        """Whether that of an example is there."""
        return kind in self.kinds and rank < self.n_ranks


@dataclass(frozen=True, slots=True)
class TokenMean:
    """What a token of the vocabulary does to a neuron."""

    token: int
    mean: float
    count: int
    """Times it came in the corpus."""


@dataclass(frozen=True, slots=True)
class SourceShare:
    """How much of a neuron's activation above 0 came from a source of text."""

    source: str
    share: float


@dataclass(frozen=True, slots=True)
class NotFinite:
    """A neuron with activations that are no numbers, which are counted and in nothing else."""

    layer: int
    neuron: int
    hook: str
    n_nan: int
    n_inf: int


class Neuron:
    """One neuron's part of a cache. Every method raises CacheError for a hook that it does not hold."""

    def __init__(self, cache: "NeuronCache", layer: int, index: int) -> None:
        self.layer, self.index, self._cache = layer, index, cache

    def top(self, hook: str) -> list[Example]:
        """The strongest examples at a hook, best first: one a document, near-identical texts once."""
        return self._examples(hook, "top")

    def bottom(self, hook: str) -> list[Example]:
        """The weakest examples, the lowest first; none in a cache of version 1."""
        return self._examples(hook, "bottom")

    def ranges(self, hook: str) -> list[RangeSample]:
        """Intervals of activation, lowest first, each with samples; none in a cache of version 1."""
        row = self._profile(hook)
        examples: dict[int | None, list[Example]] = {}
        for found in self._cache.files.examples(self.layer, self.index, hook, "range"):
            examples.setdefault(found.interval, []).append(self._cache.example(found))
        edges = zip(row["range_low"], row["range_high"], row["range_count"], strict=True)
        return [RangeSample(*edge, examples.get(which, [])) for which, edge in enumerate(edges)]

    def tokens(self, hook: str) -> list[TokenMean]:
        """Tokens of highest mean activation, among those that came often; none in version 1."""
        row = self._profile(hook)
        columns = zip(row["tokens"], row["token_means"], row["token_counts"], strict=True)
        return [TokenMean(*found) for found in columns]

    def sources(self, hook: str) -> list[SourceShare]:
        """Sources of its activation above 0, the largest share first; none in version 1."""
        row = self._profile(hook)
        return [SourceShare(*found) for found in zip(row["sources"], row["source_shares"], strict=True)]

    def histogram(self, hook: str) -> Histogram:
        """Exact counts over every token."""
        row = self._profile(hook)
        counts = np.zeros(N_BINS, dtype=np.int64)
        counts[row["bins"]] = row["bin_counts"]
        return Histogram(counts)

    def moments(self, hook: str) -> Moments:
        """Count, extremes and moments over every token."""
        row = self._cache.files.moments(self.layer, self.index, self._cache.checked_hook(hook))
        names = ("count", "n_nan", "n_inf", "min", "max", "mean", "std", "skewness", "kurtosis")
        return Moments(**{name: row[name] for name in names})

    def _profile(self, hook: str) -> dict[str, Any]:
        return self._cache.files.profile(self.layer, self.index, self._cache.checked_hook(hook))

    def _examples(self, hook: str, kind: Kind) -> list[Example]:
        rows = self._cache.files.examples(self.layer, self.index, self._cache.checked_hook(hook), kind)
        return [self._cache.example(row) for row in rows]


class NeuronCache:
    """A cache opened for reading. Use `open`; safe to share between threads."""

    def __init__(self, path: Path, manifest: Manifest, files: Files) -> None:
        self.path, self.manifest, self.files = path, manifest, files

    @classmethod
    def open(cls, path: str | Path) -> "NeuronCache":
        """Open a cache folder, of this version or an older one.

        Raises:
            CacheError: there is none, it is of a newer version, or part of it is missing or damaged.
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
                f"{file} is not a manifest of format {schema.FORMAT} up to version {schema.VERSION} "
                f"({problems}): build the cache again with this version"
            ) from error
        files = _FILES[manifest.version](folder, manifest)
        missing = [name for name in files.names if not (folder / name).exists()]
        if missing:
            raise CacheError(
                f"{folder} lacks {', '.join(missing)}: copy the whole folder or build the cache again"
            )
        return cls(folder, manifest, files)

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
        self.neuron(layer, 0)
        return self.files.table(layer, self.checked_hook(hook), histograms=histograms)

    def not_finite(self) -> list[NotFinite]:
        """The neurons with NaN or infinite activations, in order; none in a healthy model."""
        found = []
        for layer in self.layers:
            for hook in self.hooks:
                table = self.table(layer, hook)
                n_nan, n_inf = table["n_nan"].to_numpy(), table["n_inf"].to_numpy()
                for i in np.flatnonzero(n_nan + n_inf):
                    found.append(NotFinite(layer, int(i), hook, int(n_nan[i]), int(n_inf[i])))
        return found

    def neurons_for(self, token: int, layer: int, hook: str) -> list[tuple[int, float]]:
        """The neurons that fire most on a token, relative to their own maximum: neuron, mean activation.

        None in a cache of version 1.

        Raises:
            CacheError: there is no such layer or hook.
        """
        self.neuron(layer, 0)
        return self.files.neurons_for(token, layer, self.checked_hook(hook))

    def sample(self) -> pa.Table:
        """Whole contexts that activation had no part in choosing: `document`, `context_start`, `tokens`
        (without the BOS). Empty in a cache of version 1."""
        return self.files.sample()

    @cached_property
    def contexts_kept(self) -> ContextsKept | None:
        """Whose whole contexts there are, where `solu cache contexts` put them there; else None.

        Raises:
            CacheError: their file is damaged.
        """
        found = self.files.contexts_kept()
        if found is None:
            return None
        kinds = tuple(kind for kind in get_args(Kind) if kind in found[0])
        return ContextsKept(kinds, found[1])

    def context(self, example: Example) -> npt.NDArray[np.int32] | None:
        """`[n]` tokens of the whole context that an example is of, without the BOS; None where it is not
        kept. The example's own token is the one at `position - context_start`.

        Raises:
            CacheError: the file is damaged.
        """
        if self.contexts_kept is None:
            return None
        return self.files.context(example.document_index, example.context_start)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """What tokens say."""
        return Vocabulary(self.files.read(schema.VOCABULARY)["bytes"].to_pylist())

    def documents(self) -> dict[int, Provenance]:
        """Every document that something kept came from, by its name (version 1: its number)."""
        return dict(self._documents)

    def checked_hook(self, hook: str) -> str:
        """The hook, if the cache holds it; else CacheError."""
        if hook not in self.hooks:
            raise CacheError(f"this cache holds {' and '.join(self.hooks)}, not {hook!r}")
        return hook

    @cached_property
    def _documents(self) -> dict[int, Provenance]:
        rows = self.files.read(schema.DOCUMENTS).to_pylist()
        return {r["document"]: Provenance(r["source"], r["lang"], r["licence"], r["origin"]) for r in rows}

    def example(self, stored: StoredExample) -> Example:
        """An example with the document that it is from."""
        document = self._documents.get(stored.document)
        if document is None:
            raise self.files.damaged(schema.DOCUMENTS, f"no document {stored.document}")
        return Example(
            value=stored.value,
            tokens=stored.tokens,
            peak=stored.peak,
            activations=stored.activations,
            position=stored.position,
            context_start=stored.context_start,
            document_index=stored.document,
            document=document,
        )
