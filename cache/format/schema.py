"""Names, columns and versions of the files of a cache. `docs/cache_format.md` is normative.

Legend of the package: H hooks, T positions, M neurons (d_mlp), V tokens of the vocabulary, K examples of a
list, W tokens of a window.
"""

from dataclasses import dataclass
from typing import Any, Literal, Self

import pyarrow as pa
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

FORMAT = "solu-explorer-neurons"
VERSION = 4

MANIFEST = "cache.json"
CHECKSUMS = "checksums.sha256"
VOCABULARY = "vocabulary.parquet"
NEURONS = "neurons.parquet"
TOKENS = "tokens.parquet"
SAMPLE = "sample.parquet"
DOCUMENTS = "documents.parquet"
CONTEXTS = "contexts.parquet"
"""Optional, see `cache.writing.contexts`."""
PROFILES = "profiles"
EXAMPLES = "examples"

Hook = Literal["hook_mid", "hook_post"]
Kind = Literal["top", "bottom", "range"]
"""Kinds of examples: strongest, weakest, sampled from a range of activation."""

NEURONS_PER_PART = 64
"""Neurons whose rows share a file of `profiles` and of `examples`."""
NEURONS_PER_ROW_GROUP = 8
"""Neurons of a file that share a row group, all of which are decompressed to read one of them."""


class CacheError(ValueError):
    """Error of a cache that cannot be read or built: the value expected, the value received, the remedy."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """Origin of a document; unknown fields are empty.

    Fields: `source`, a name for the kind of text; `lang`, its language; `licence`; `origin`, such as
    `PACKAGE:PATH`.
    """

    source: str
    lang: str
    licence: str
    origin: str


class Record(BaseModel):
    """A part of a JSON file, which allows no unknown field."""

    # An unknown field means a file of another program or of a newer version.
    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelRecord(Record):
    """The model whose activations were read."""

    name: str
    sha256: str
    """SHA-256 of `model.safetensors`; for other checkpoints see docs/cache_format.md."""
    act_fn: str
    n_layers: int = Field(ge=1)
    d_model: int = Field(ge=1)
    d_mlp: int = Field(ge=1)
    n_ctx: int = Field(ge=2)
    d_vocab: int = Field(ge=1)
    tokenizer: str
    """SHA-256 of the tokenizer's definition."""


class TokenizationRecord(Record):
    """The contexts that text was cut into; `ModelRecord.tokenizer` names the tokens."""

    bos_id: int | None = Field(ge=0)
    """The token at position 0 of every context; None if contexts begin with their text."""
    n_ctx: int = Field(ge=1)
    """Longest context that was read, the BOS included; at most the model's `n_ctx`."""


class SourceRecord(Record):
    """Documents and tokens of one source of text."""

    source: str
    n_documents: int = Field(ge=0)
    n_tokens: int = Field(ge=0)


class CorpusRecord(Record):
    """The text that was read."""

    names: list[str]
    sample: float = Field(gt=0, le=1)
    """Share of the documents that was read."""
    seed: int
    """Seed of that share and of every sample in the cache."""
    n_documents: int = Field(ge=0)
    n_contexts: int = Field(ge=0)
    n_tokens: int = Field(ge=0)
    """Tokens of the documents, without any BOS."""
    n_bytes: int = Field(ge=0)
    sha256: str
    """Sum modulo 2^256 of the documents' digests (`cache.statistics.identity`), which no order changes.
    Version 1: SHA-256 of all texts in the order read, each after its length as 8 little-endian bytes."""
    sources: list[SourceRecord] = []
    """Sources in name order. Version 1 has none."""


class Manifest(Record):
    """`cache.json`. Fields that version 1 lacks are None there."""

    format: Literal["solu-explorer-neurons"] = "solu-explorer-neurons"
    version: Literal[1, 2, 3, 4] = 4
    model: ModelRecord
    tokenization: TokenizationRecord | None = None
    """None before version 4: contexts begin with the tokenizer's BOS and have at most the model's n_ctx."""
    corpus: CorpusRecord
    layers: list[int]
    hooks: list[Hook]
    dtype: str
    """Type of the numbers in the forward pass, such as `float32`."""
    device: str | None = None
    """Device of the forward pass: `cpu` or `cuda`."""
    top_k: int = Field(ge=1)
    """Most strongest, and most weakest, examples of each neuron and hook."""
    range_samples: int | None = Field(default=None, ge=1)
    """Tokens sampled from each range of activation."""
    window_before: int = Field(ge=0)
    """Tokens kept before the peak of a strongest example."""
    window_after: int = Field(ge=0)
    """Tokens kept after it."""
    sample_window_before: int | None = Field(default=None, ge=0)
    """Tokens kept before the token of a weakest or sampled example."""
    sample_window_after: int | None = Field(default=None, ge=0)
    """Tokens kept after it."""
    by_token: bool | None = None
    """True if activation by token was kept."""
    token_min_count: int | None = Field(default=None, ge=1)
    """Least number of occurrences of a token that is ranked by its mean activation."""
    sample_tokens: int | None = Field(default=None, ge=0)
    """Most tokens in the sample of contexts, which is drawn regardless of activation."""
    neurons_per_part: int | None = Field(default=None, ge=1)
    """Neurons whose rows share a file of `profiles` and of `examples`."""
    versions: dict[str, str]
    """Versions of the packages that made the cache."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.version >= 2:
            missing = [name for name in _SINCE_2 if getattr(self, name) is None]
            if missing:
                raise ValueError(f"version {self.version} needs {', '.join(missing)}")
        if (self.version >= 4) != (self.tokenization is not None):
            raise ValueError(f"version {self.version}, and tokenization is {self.tokenization!r}")
        return self

    @property
    def n_ctx(self) -> int:
        """Longest context that was read, the BOS included if there is one."""
        return self.model.n_ctx if self.tokenization is None else self.tokenization.n_ctx

    def to_json(self) -> str:
        """Return the content of `cache.json`."""
        return self.model_dump_json(indent=1) + "\n"

    @model_serializer(mode="wrap")
    def _as_its_version(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out the field that versions before 4 do not have."""
        fields: dict[str, Any] = serialize(self)
        if self.tokenization is None:
            fields.pop("tokenization", None)
        return fields


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
"""Columns of count, extremes and moments. Version 2 has them in `neurons.parquet` alone."""

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
    """Return the name of a neuron's file under `profiles/` and `examples/`."""
    return f"{layer:04d}/{neuron // per_part:05d}.parquet"
