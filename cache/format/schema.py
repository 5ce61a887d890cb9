"""What a neuron cache is on disk: names, columns, versions. `docs/cache_format.md` is the norm.

Legend of the package: H hooks, T position, M d_mlp, V d_vocab, K kept examples, W window.
"""

from dataclasses import dataclass
from typing import Literal, Self

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, model_validator

FORMAT = "solu-explorer-neurons"
VERSION = 3

MANIFEST = "cache.json"
CHECKSUMS = "checksums.sha256"
VOCABULARY = "vocabulary.parquet"
NEURONS = "neurons.parquet"
TOKENS = "tokens.parquet"
SAMPLE = "sample.parquet"
DOCUMENTS = "documents.parquet"
CONTEXTS = "contexts.parquet"
"""Not in every cache, see `cache.writing.contexts`."""
PROFILES = "profiles"
EXAMPLES = "examples"

Hook = Literal["hook_mid", "hook_post"]
Kind = Literal["top", "bottom", "range"]

NEURONS_PER_PART = 64
"""Neurons whose rows share a file of `profiles` and of `examples`."""
NEURONS_PER_ROW_GROUP = 8
"""Of those, neurons that share a Parquet row group: what one neuron's read has to decompress."""


class CacheError(ValueError):
    """A cache that cannot be read or built, with what was expected, what was found and what to do."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a document came from; unknown parts are empty."""

    source: str
    lang: str
    licence: str
    origin: str


class Record(BaseModel):
    """A part of a manifest."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelRecord(Record):
    """The checkpoint that the activations came from."""

    name: str
    sha256: str
    """Of `model.safetensors`."""
    act_fn: str
    n_layers: int = Field(ge=1)
    d_model: int = Field(ge=1)
    d_mlp: int = Field(ge=1)
    n_ctx: int = Field(ge=2)
    d_vocab: int = Field(ge=1)
    tokenizer: str
    """SHA-256 of the tokenizer's definition."""


class SourceRecord(Record):
    """One source of text."""

    source: str
    n_documents: int = Field(ge=0)
    n_tokens: int = Field(ge=0)


class CorpusRecord(Record):
    """The text that was read."""

    names: list[str]
    sample: float = Field(gt=0, le=1)
    """Share of the documents that was read."""
    seed: int
    """Of that share, and of every sample in the cache."""
    n_documents: int = Field(ge=0)
    n_contexts: int = Field(ge=0)
    n_tokens: int = Field(ge=0)
    """Tokens counted: every token of the text, no BOS, no padding."""
    n_bytes: int = Field(ge=0)
    sha256: str
    """The sum, modulo 2^256, of the documents' SHA-256 (`cache.statistics.identity`): the order is nothing.
    Version 1: of all texts in the order read, each after its length as 8 little-endian bytes."""
    sources: list[SourceRecord] = []
    """By name. Version 1: not there."""


class Manifest(Record):
    """`cache.json`. Fields that version 1 does not have are None there."""

    format: Literal["solu-explorer-neurons"] = "solu-explorer-neurons"
    version: Literal[1, 2, 3] = 3
    model: ModelRecord
    corpus: CorpusRecord
    layers: list[int]
    hooks: list[Hook]
    dtype: str
    """Of the forward pass."""
    device: str | None = None
    """What ran it: `cpu` or `cuda`."""
    top_k: int = Field(ge=1)
    """Strongest and weakest examples a neuron and hook."""
    range_samples: int | None = Field(default=None, ge=1)
    """Tokens sampled from each interval of activation."""
    window_before: int = Field(ge=0)
    """Tokens kept before a strongest example's peak."""
    window_after: int = Field(ge=0)
    sample_window_before: int | None = Field(default=None, ge=0)
    """The same for weakest and sampled examples."""
    sample_window_after: int | None = Field(default=None, ge=0)
    by_token: bool | None = None
    """Whether activation by token was kept."""
    token_min_count: int | None = Field(default=None, ge=1)
    """Occurrences from which a token is ranked by its mean activation."""
    sample_tokens: int | None = Field(default=None, ge=0)
    """Tokens at most in the sample of contexts that activation has no part in."""
    neurons_per_part: int | None = Field(default=None, ge=1)
    versions: dict[str, str]
    """Of the packages that made it."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.version >= 2:
            missing = [name for name in _SINCE_2 if getattr(self, name) is None]
            if missing:
                raise ValueError(f"version {self.version} needs {', '.join(missing)}")
        return self


_SINCE_2 = (
    "device", "range_samples", "sample_window_before", "sample_window_after", "by_token", "token_min_count",
    "sample_tokens", "neurons_per_part",
)  # fmt: skip


VOCABULARY_SCHEMA = pa.schema([("token", pa.int32()), ("bytes", pa.binary()), ("count", pa.int64())])

_NEURON = [("layer", pa.int32()), ("neuron", pa.int32()), ("hook", pa.string())]
_MOMENTS = [
    ("count", pa.int64()),
    ("n_nan", pa.int64()),
    ("n_inf", pa.int64()),
    ("min", pa.float32()),
    ("max", pa.float32()),
    ("mean", pa.float64()),
    ("std", pa.float64()),
    ("skewness", pa.float64()),
    ("kurtosis", pa.float64()),
]
MOMENTS = [name for name, _ in _MOMENTS]
"""Columns of a neuron's count, extremes and moments; version 2 has them in `NEURONS` alone."""

NEURONS_SCHEMA = pa.schema(
    [
        *_NEURON,
        *_MOMENTS,
        ("density", pa.float64()),
        ("density_above", pa.float64()),
        ("peak_tokens", pa.list_(pa.int32())),
        ("best_source", pa.string()),
        ("best_source_share", pa.float64()),
        ("best_token", pa.int32()),
    ]
)

PROFILES_SCHEMA = pa.schema(
    [
        *_NEURON,
        *_MOMENTS,
        ("power_sums", pa.list_(pa.float64(), 4)),
        ("bins", pa.list_(pa.int16())),
        ("bin_counts", pa.list_(pa.int64())),
        ("range_low", pa.list_(pa.float64())),
        ("range_high", pa.list_(pa.float64())),
        ("range_count", pa.list_(pa.int64())),
        ("tokens", pa.list_(pa.int32())),
        ("token_means", pa.list_(pa.float32())),
        ("token_counts", pa.list_(pa.int64())),
        ("sources", pa.list_(pa.string())),
        ("source_shares", pa.list_(pa.float32())),
    ]
)

EXAMPLES_SCHEMA = pa.schema(
    [
        *_NEURON,
        ("kind", pa.string()),
        ("range", pa.int32()),
        ("rank", pa.int32()),
        ("value", pa.float32()),
        ("document", pa.int64()),
        ("position", pa.int64()),
        ("context_start", pa.int64()),
        ("peak", pa.int32()),
        ("tokens", pa.list_(pa.int32())),
        ("levels_hook_mid", pa.binary()),
        ("low_hook_mid", pa.float32()),
        ("high_hook_mid", pa.float32()),
        ("levels_hook_post", pa.binary()),
        ("low_hook_post", pa.float32()),
        ("high_hook_post", pa.float32()),
    ]
)

TOKENS_SCHEMA = pa.schema(
    [
        ("layer", pa.int32()),
        ("hook", pa.string()),
        ("token", pa.int32()),
        ("neurons", pa.list_(pa.int32())),
        ("means", pa.list_(pa.float32())),
    ]
)

SAMPLE_SCHEMA = pa.schema(
    [("document", pa.int64()), ("context_start", pa.int64()), ("tokens", pa.list_(pa.int32()))]
)

DOCUMENTS_SCHEMA = pa.schema(
    [
        ("document", pa.int64()),
        ("source", pa.string()),
        ("lang", pa.string()),
        ("licence", pa.string()),
        ("origin", pa.string()),
    ]
)


def part_name(layer: int, neuron: int, per_part: int) -> str:
    """The file, under `profiles/` and `examples/`, that holds a neuron."""
    return f"{layer:04d}/{neuron // per_part:05d}.parquet"
