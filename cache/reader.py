"""Read a neuron cache: `NeuronCache.open(path)`. Imports neither torch nor the model.

cache = NeuronCache.open("models/solu-1l/neurons")
neuron = cache.neuron(layer=0, index=7)
for example in neuron.top("hook_mid"):
    print(example.value, cache.vocabulary.pieces(example.tokens), example.document.origin)
"""

import operator
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

_FILES: dict[int, type[Files]] = {1: FilesV1, 2: FilesV2, 3: FilesV3, 4: FilesV3}
"""Files by version of the format."""


@dataclass(frozen=True)
class Example:
    """A window of text around one token of a neuron: a strongest, weakest or sampled example."""

    value: float
    """Activation at the peak, an exact float32."""
    tokens: npt.NDArray[np.int32]
    """`[n]` tokens of the window."""
    peak: int
    """Index in `tokens` of the example's token."""
    activations: dict[str, npt.NDArray[np.float32]]
    """`[n]` by hook, each rounded to one of 256 even steps."""
    position: int
    """Index of the peak's token in its document."""
    context_start: int
    """Index in the document of the first token, after the BOS, of the context that the model read."""
    document_index: int
    """Name of the document (version 1: its number)."""
    document: Provenance


@dataclass(frozen=True)
class RangeSample:
    """A range of a neuron's activation: its number of tokens, and a uniform sample of them."""

    low: float
    """Lower edge: outside the range at or below zero, inside it above zero."""
    high: float
    """Upper edge: inside the range at or below zero and in the highest range, else outside."""
    count: int
    """Exact number of tokens of the corpus in the range."""
    examples: list[Example]
    """Tokens sampled without replacement; all of them where there are few."""


@dataclass(frozen=True)
class ContextsKept:
    """The examples whose whole contexts a cache holds: the first ranks of some kinds."""

    kinds: tuple[Kind, ...]
    n_ranks: int
    """Number of examples of each neuron, hook and kind (and range)."""

    def of(self, kind: str, rank: int) -> bool:
        """Return True if the context of an example is stored."""
        return kind in self.kinds and rank < self.n_ranks


@dataclass(frozen=True, slots=True)
class TokenMean:
    """A token of the vocabulary, with the mean activation of a neuron on it."""

    token: int
    mean: float
    """Mean activation over all occurrences of the token."""
    count: int
    """Occurrences of the token in the corpus."""


@dataclass(frozen=True, slots=True)
class SourceShare:
    """A source of text, with its share of the sum of a neuron's activation above 0."""

    source: str
    share: float


@dataclass(frozen=True, slots=True)
class NotFinite:
    """A neuron with NaN or infinite activations, which are counted but excluded from all statistics."""

    layer: int
    neuron: int
    hook: str
    n_nan: int
    n_inf: int


class Neuron:
    """One neuron of a cache. Every method raises CacheError for a hook that the cache does not hold."""

    def __init__(self, cache: "NeuronCache", layer: int, index: int) -> None:
        self.layer, self.index, self._cache = layer, index, cache

    def top(self, hook: str) -> list[Example]:
        """Return the strongest examples at a hook, strongest first.

        There is at most one for each document, and one of near-identical texts.
        """
        return self._examples(hook, "top")

    def bottom(self, hook: str) -> list[Example]:
        """Return the weakest examples at a hook, weakest first, chosen as in `top`; none in version 1."""
        return self._examples(hook, "bottom")

    def ranges(self, hook: str) -> list[RangeSample]:
        """Return the ranges of activation, lowest first, each with its sample; none in version 1."""
        row = self._profile(hook)
        examples: dict[int | None, list[Example]] = {}
        for stored in self._cache.files.examples(self.layer, self.index, hook, "range"):
            examples.setdefault(stored.interval, []).append(self._cache.example(stored))
        intervals = zip(row["range_low"], row["range_high"], row["range_count"], strict=True)
        return [RangeSample(*interval, examples.get(i, [])) for i, interval in enumerate(intervals)]

    def tokens(self, hook: str) -> list[TokenMean]:
        """Return the tokens of highest mean activation, highest first; none in version 1.

        Only tokens with at least `token_min_count` occurrences are ranked (`Manifest`).
        """
        row = self._profile(hook)
        columns = zip(row["tokens"], row["token_means"], row["token_counts"], strict=True)
        return [TokenMean(*values) for values in columns]

    def sources(self, hook: str) -> list[SourceShare]:
        """Return the sources of the activation above 0, the largest share first; none in version 1."""
        row = self._profile(hook)
        return [SourceShare(*values) for values in zip(row["sources"], row["source_shares"], strict=True)]

    def histogram(self, hook: str) -> Histogram:
        """Return the exact histogram over all tokens of the corpus."""
        row = self._profile(hook)
        counts = np.zeros(N_BINS, dtype=np.int64)
        counts[row["bins"]] = row["bin_counts"]
        return Histogram(counts)

    def moments(self, hook: str) -> Moments:
        """Return count, extremes and moments over all tokens of the corpus."""
        row = self._cache.files.moments(self.layer, self.index, self._cache.checked_hook(hook))
        names = ("count", "n_nan", "n_inf", "min", "max", "mean", "std", "skewness", "kurtosis")
        return Moments(**{name: row[name] for name in names})

    def _profile(self, hook: str) -> dict[str, Any]:
        return self._cache.files.profile(self.layer, self.index, self._cache.checked_hook(hook))

    def _examples(self, hook: str, kind: Kind) -> list[Example]:
        rows = self._cache.files.examples(self.layer, self.index, self._cache.checked_hook(hook), kind)
        return [self._cache.example(row) for row in rows]


class NeuronCache:
    """A cache opened for reading, with `NeuronCache.open`. Threads may share it."""

    def __init__(self, path: Path, manifest: Manifest, files: Files) -> None:
        self.path, self.manifest, self.files = path, manifest, files

    @classmethod
    def open(cls, path: str | Path) -> "NeuronCache":
        """Open a cache folder of any version up to this one.

        Raises:
            CacheError: there is no cache, it has a newer version, or a part is missing or damaged.
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
        # Checked here, so that a partial copy fails at once and not at some page.
        missing = [name for name in files.names if not (folder / name).exists()]
        if missing:
            raise CacheError(
                f"{folder} lacks {', '.join(missing)}: copy the whole folder or build the cache again"
            )
        return cls(folder, manifest, files)

    @property
    def layers(self) -> list[int]:
        """Layers that the cache holds, ascending."""
        return self.manifest.layers

    @property
    def d_mlp(self) -> int:
        """Neurons of each layer."""
        return self.manifest.model.d_mlp

    @property
    def hooks(self) -> list[str]:
        """`hook_mid` and `hook_post`, or `hook_post` alone for a model without the extra LayerNorm."""
        return list(self.manifest.hooks)

    def neuron(self, layer: int, index: int) -> Neuron:
        """Return one neuron.

        Raises:
            CacheError: there is no such layer or neuron.
        """
        layer, index = operator.index(layer), operator.index(index)  # numpy's integers too
        if layer not in self.layers or not 0 <= index < self.d_mlp:
            layers = ", ".join(map(str, self.layers))
            raise CacheError(
                f"there is no neuron {index} in layer {layer}: this cache holds layers {layers} "
                f"with neurons 0 to {self.d_mlp - 1} each"
            )
        return Neuron(self, layer, index)

    def table(self, layer: int, hook: str, *, histograms: bool = False) -> pa.Table:
        """Return the rows of a layer in `neurons.parquet`, one for each neuron, in order.

        Args:
            layer: the layer.
            hook: the hook.
            histograms: add the columns `bins` and `bin_counts`, the non-empty bins of the histogram.

        Raises:
            CacheError: there is no such layer or hook.
        """
        layer = self.neuron(layer, 0).layer
        return self.files.table(layer, self.checked_hook(hook), histograms=histograms)

    def not_finite(self) -> list[NotFinite]:
        """Return the neurons with NaN or infinite activations, in order; a healthy model has none."""
        neurons = []
        for layer in self.layers:
            for hook in self.hooks:
                table = self.table(layer, hook)
                n_nan, n_inf = table["n_nan"].to_numpy(), table["n_inf"].to_numpy()
                for i in np.flatnonzero(n_nan + n_inf):
                    neurons.append(NotFinite(layer, int(i), hook, int(n_nan[i]), int(n_inf[i])))
        return neurons

    def neurons_for(self, token: int, layer: int, hook: str) -> list[tuple[int, float]]:
        """Return the neurons of highest mean activation on a token, relative to their own maximum.

        Returns:
            Pairs of a neuron and its mean activation on the token, highest ratio first; none in version 1.

        Raises:
            CacheError: there is no such layer or hook.
        """
        layer = self.neuron(layer, 0).layer
        return self.files.neurons_for(operator.index(token), layer, self.checked_hook(hook))

    def sample(self) -> pa.Table:
        """Return a sample of whole contexts, drawn regardless of activation; empty in version 1.

        Columns: `document`, `context_start` and `tokens` (without the BOS).
        """
        return self.files.sample()

    @cached_property
    def contexts_kept(self) -> ContextsKept | None:
        """The examples whose whole contexts `solu cache contexts` added; None if it never did.

        Raises:
            CacheError: the file of contexts is damaged.
        """
        stored = self.files.contexts_kept()
        if stored is None:
            return None
        stored_kinds, n_ranks = stored
        return ContextsKept(tuple(kind for kind in get_args(Kind) if kind in stored_kinds), n_ranks)

    def context(self, example: Example) -> npt.NDArray[np.int32] | None:
        """Return the tokens `[n]` of the whole context of an example, without the BOS.

        The example's own token is at index `position - context_start`. None if the context is not stored.

        Raises:
            CacheError: the file is damaged.
        """
        if self.contexts_kept is None:
            return None
        return self.files.context(example.document_index, example.context_start)

    @property
    def contexts_read(self) -> str:
        """The contexts that the text was cut into, as a phrase: their length, and the BOS before each."""
        record = self.manifest.tokenization
        length = f"contexts of at most {self.manifest.n_ctx:,} tokens"
        if record is None:
            return f"{length}, the tokenizer's BOS included"
        if record.bos_id is None:
            return f"{length} without a BOS"
        known = record.bos_id < len(self.vocabulary)
        name = f" {self.vocabulary.text(record.bos_id)}" if known else ""
        return f"{length}, the BOS{name} (token {record.bos_id}) included"

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The bytes and text of tokens."""
        return Vocabulary(self.files.read(schema.VOCABULARY)["bytes"].to_pylist())

    def documents(self) -> dict[int, Provenance]:
        """Return the provenance of all documents of examples and sampled contexts, by name.

        In version 1 documents have numbers in place of names.
        """
        return dict(self._documents)

    def checked_hook(self, hook: str) -> str:
        """Return the hook.

        Raises:
            CacheError: the cache does not hold it.
        """
        if hook not in self.hooks:
            raise CacheError(f"this cache holds {' and '.join(self.hooks)}, not {hook!r}")
        return hook

    @cached_property
    def _documents(self) -> dict[int, Provenance]:
        rows = self.files.read(schema.DOCUMENTS).to_pylist()
        return {r["document"]: Provenance(r["source"], r["lang"], r["licence"], r["origin"]) for r in rows}

    def example(self, stored: StoredExample) -> Example:
        """Return a stored example with the provenance of its document."""
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
