"""Search of tokens by a regular expression, and of neurons whose peaks are such tokens."""

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import pyarrow as pa

from analysis.patterns import compile_pattern
from cache.format import schema
from cache.format.vocabulary import Vocabulary
from dashboard.shared.parquet_sql import Value, table_of


def tokens_matching(pattern: str, vocabulary: Vocabulary) -> list[int]:
    """Return the tokens whose text a regular expression matches anywhere, in time linear in the vocabulary.

    Raises:
        PatternError: RE2 refuses the pattern.
    """
    expression = compile_pattern(pattern)
    return [token for token, text in enumerate(_texts(vocabulary)) if expression.search(text)]


def peaks_among(folder: Path, tokens: Iterable[int], hook: str, layer: int | None) -> pa.Table:
    """Return the neurons with at least one of these tokens at a peak.

    Args:
        folder: of the cache.
        tokens: ids in the vocabulary.
        hook: `hook_mid` or `hook_post`.
        layer: None for all layers.

    Returns:
        Columns `layer`, `neuron` and `match`, the share of the neuron's peaks at these tokens.

    Raises:
        CacheError: the cache is damaged.
    """
    values: dict[str, Value] = {"file": folder / schema.NEURONS, "hook": hook}
    of_layer = "hook = $hook"
    if layer is not None:
        of_layer += " AND layer = $layer"
        values["layer"] = layer
    sql = f"""
        WITH peaks AS (
            SELECT layer, neuron, len(peak_tokens) AS n, unnest(peak_tokens) AS token
            FROM read_parquet($file, hive_partitioning = false) WHERE {of_layer}
        )
        SELECT layer, neuron, count(*) / any_value(n) AS match FROM peaks SEMI JOIN wanted USING (token)
        GROUP BY layer, neuron
    """  # noqa: S608 `of_layer` is one of two constants, values are bound
    return table_of(sql, values, {"wanted": pa.table({"token": pa.array(tokens, pa.int32())})})


@lru_cache(4)
def _texts(vocabulary: Vocabulary) -> list[bytes]:
    # The displayed text and not the token's bytes, which need not be valid UTF-8: `.` would not match them.
    return [vocabulary.text(token).encode() for token in range(len(vocabulary))]
