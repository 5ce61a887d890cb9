"""What a neuron cache is on disk: names, columns, versions. `docs/cache_format.md` is the norm.

Legend of the package: B batch, T position, M d_mlp, K kept examples, W window, N bins.
"""

from typing import Literal

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

FORMAT = "solu-explorer-neurons"
VERSION = 1

MANIFEST = "cache.json"
VOCABULARY = "vocabulary.parquet"
NEURONS = "neurons.parquet"
EXAMPLES = "examples.parquet"
DOCUMENTS = "documents.parquet"

Hook = Literal["hook_mid", "hook_post"]

NEURONS_PER_ROW_GROUP = 16
"""Neurons whose examples share a Parquet row group: what one neuron's read has to decompress."""


class CacheError(ValueError):
    """A cache that cannot be read or built, with what was expected, what was found and what to do."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelRecord(_Record):
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


class CorpusRecord(_Record):
    """The text that was read."""

    names: list[str]
    sample: float = Field(gt=0, le=1)
    """Share of the documents that was read."""
    seed: int
    n_documents: int = Field(ge=0)
    n_contexts: int = Field(ge=0)
    n_tokens: int = Field(ge=0)
    """Tokens counted: every token of the text, no BOS, no padding."""
    n_bytes: int = Field(ge=0)
    sha256: str
    """Of all texts in the order read, each after its length in bytes as 8 little-endian bytes."""


class Manifest(_Record):
    """`cache.json`."""

    format: Literal["solu-explorer-neurons"] = "solu-explorer-neurons"
    version: Literal[1] = 1
    model: ModelRecord
    corpus: CorpusRecord
    layers: list[int]
    hooks: list[Hook]
    dtype: str
    """Of the forward pass."""
    top_k: int = Field(ge=1)
    window_before: int = Field(ge=0)
    """Tokens kept before an example's peak."""
    window_after: int = Field(ge=0)
    versions: dict[str, str]
    """Of the packages that made it."""


VOCABULARY_SCHEMA = pa.schema([("token", pa.int32()), ("bytes", pa.binary())])

NEURONS_SCHEMA = pa.schema(
    [
        ("layer", pa.int32()),
        ("neuron", pa.int32()),
        ("hook", pa.string()),
        ("count", pa.int64()),
        ("n_nan", pa.int64()),
        ("n_inf", pa.int64()),
        ("min", pa.float32()),
        ("max", pa.float32()),
        ("mean", pa.float64()),
        ("std", pa.float64()),
        ("skewness", pa.float64()),
        ("kurtosis", pa.float64()),
        ("density", pa.float64()),
        ("density_above", pa.float64()),
        ("peak_tokens", pa.list_(pa.int32())),
        ("power_sums", pa.list_(pa.float64(), 4)),
        ("bins", pa.list_(pa.int16())),
        ("bin_counts", pa.list_(pa.int64())),
    ]
)

EXAMPLES_SCHEMA = pa.schema(
    [
        ("layer", pa.int32()),
        ("neuron", pa.int32()),
        ("hook", pa.string()),
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

DOCUMENTS_SCHEMA = pa.schema(
    [
        ("document", pa.int64()),
        ("source", pa.string()),
        ("lang", pa.string()),
        ("licence", pa.string()),
        ("origin", pa.string()),
    ]
)
