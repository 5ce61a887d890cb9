"""Tokens that a regular expression finds something in, and neurons whose peaks are such tokens. Pure."""

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import re2

from cache.format import schema
from cache.format.vocabulary import Vocabulary
from dashboard.shared.parquet_sql import Value, table_of


class PatternError(ValueError):
    """A regular expression that cannot be read, with the reason."""


def tokens_matching(pattern: str, vocabulary: Vocabulary) -> list[int]:
    """Tokens that a regular expression finds something in, in time linear in the vocabulary.

    Raises:
        PatternError: it is no regular expression of RE2's kind.
    """
    options = re2.Options()
    options.log_errors = False
    options.max_mem = 8 << 20
    try:
        expression = re2.compile(pattern, options)
    except re2.error as error:
        raise PatternError(_reason(error)) from error
    return [token for token, text in enumerate(_texts(vocabulary)) if expression.search(text)]


def peaks_among(folder: Path, tokens: Iterable[int], hook: str, layer: int | None) -> pa.Table:
    """The neurons of which some peak is one of these tokens.

    Args:
        folder: of the cache.
        layer: None is all layers.

    Returns:
        Columns `layer`, `neuron` and `match`, the share of the neuron's peaks that are.

    Raises:
        CacheError: the cache is damaged.
    """
    values: dict[str, Value] = {"file": str(folder / schema.NEURONS), "hook": hook}
    of_layer = "hook = $hook"
    if layer is not None:
        of_layer += " AND layer = $layer"
        values["layer"] = layer
    sql = f"""
        WITH peaks AS (
            SELECT layer, neuron, len(peak_tokens) AS n, unnest(peak_tokens) AS token
            FROM read_parquet($file) WHERE {of_layer}
        )
        SELECT layer, neuron, count(*) / any_value(n) AS match FROM peaks SEMI JOIN wanted USING (token)
        GROUP BY layer, neuron
    """  # noqa: S608 our own words; values are bound
    return table_of(sql, values, {"wanted": pa.table({"token": pa.array(tokens, pa.int32())})})


@lru_cache(4)
def _texts(vocabulary: Vocabulary) -> list[str]:
    return [vocabulary.text(token) for token in range(len(vocabulary))]


def _reason(error: Exception) -> str:
    text = error.args[0] if error.args else error
    return text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
