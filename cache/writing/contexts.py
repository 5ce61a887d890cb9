"""Whole contexts of examples, read from the text again into a finished cache: `contexts.parquet`.

solu cache contexts models/solu-1l/neurons --model models/solu-1l --data PATH

A build keeps a window around each peak, so that its memory does not depend on how long contexts are.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tqdm import tqdm
from transformers import PreTrainedTokenizerFast

from cache.format import schema
from cache.format.schema import CacheError, Kind
from cache.reader import NeuronCache
from cache.shards.corpus import Corpus
from cache.storage.checksums import renew_checksum
from cache.storage.disk import written
from cache.writing.store import COMPRESSION
from solu_model.text.contexts import document_contexts
from solu_model.text.tokenizer import tokenizer_hash

_IN_GROUP = 128
"""Contexts of a row group: what the reading of one has to decompress."""

Name = tuple[int, int]
"""Of a context: its document, and the index in it of the first token after the BOS."""


def add_contexts(
    path: Path,
    data: Sequence[str | Path],
    tokenizer: PreTrainedTokenizerFast,
    *,
    kinds: Sequence[Kind] = ("top",),
    n_ranks: int | None = None,
    progress: bool = True,
) -> int:
    """Put the whole contexts of examples into a cache; those that it had are replaced.

    Takes 4 bytes of memory a token that is kept.

    Args:
        path: the cache's folder.
        data: the text that the cache was built from.
        tokenizer: the one that read it.
        kinds: whose contexts: the strongest, weakest, sampled examples.
        n_ranks: the first so many of each neuron, hook and kind (and interval); all by default.
        progress: draw a progress bar.

    Returns:
        The number of contexts.

    Raises:
        CacheError: the cache is of version 1, or the tokenizer or the text is not the one it was built from;
            nothing has changed.
        NotWritten: the disk is full; nothing has changed.
    """
    cache = NeuronCache.open(path)
    manifest = cache.manifest
    if manifest.version == 1:
        raise CacheError(f"{path} is of version 1, which does not name documents: build it again")
    found_hash = tokenizer_hash(tokenizer)
    if found_hash != manifest.model.tokenizer:
        raise CacheError(
            f"the text was read with a tokenizer of SHA-256 {manifest.model.tokenizer[:12]}, this one has "
            f"{found_hash[:12]}: give the model that the cache was built from"
        )
    n_ranks = n_ranks or max(manifest.top_k, manifest.range_samples or 0)
    wanted = contexts_of(cache, kinds, n_ranks)
    corpus = Corpus(data, manifest.corpus.sample, manifest.corpus.seed)
    texts = corpus.texts(tokenizer, only={document for document, _ in wanted})
    n_documents = len({document for document, _ in wanted})
    found: dict[Name, npt.NDArray[np.int32]] = {}
    with tqdm(
        texts, total=n_documents, desc="contexts", unit="document", disable=None if progress else True
    ) as bar:
        for text in bar:
            for context in document_contexts(text.id, text.tokens.tolist(), manifest.model.n_ctx, 0):
                if (text.id, context.start) in wanted:
                    found[text.id, context.start] = context.tokens[1:].astype(np.int32)
    if missing := wanted - found.keys():
        raise CacheError(
            f"{len(missing):,} of {len(wanted):,} contexts are not in the text given: expected that of "
            f"{', '.join(manifest.corpus.names)}, all of it (`solu cache verify --data` compares them)"
        )
    names = sorted(found)
    table = pa.table(
        {
            "document": [document for document, _ in names],
            "context_start": [start for _, start in names],
            "tokens": [found[name] for name in names],
        },
        schema=schema.SAMPLE_SCHEMA,
    )
    with written(path / schema.CONTEXTS) as aside:
        write_contexts(table, kinds, n_ranks, aside)
    renew_checksum(path, schema.CONTEXTS)
    return len(names)


def write_contexts(table: pa.Table, kinds: Sequence[Kind], n_ranks: int, file: Path) -> None:
    """Write the contexts of the first `n_ranks` examples of some kinds, by document and start."""
    said = {"kinds": ",".join(sorted(kinds)), "ranks": str(n_ranks)}
    pq.write_table(table.replace_schema_metadata(said), file, row_group_size=_IN_GROUP, **COMPRESSION)


def context_problems(cache: NeuronCache) -> Iterator[str]:
    """Examples whose window is not in the context that is kept of them, a sentence each."""
    kept = cache.contexts_kept
    if kept is None:
        return
    rows = cache.files.read(schema.CONTEXTS).to_pydict()
    names = list(zip(rows["document"], rows["context_start"], strict=True))
    tokens = dict(zip(names, rows["tokens"], strict=True))
    if names != sorted(tokens):
        yield f"{schema.CONTEXTS}: contexts out of order, or twice"
    lost = other = 0
    columns = ["document", "context_start", "position", "peak", "tokens"]
    for table in _examples(cache, kept.kinds, kept.n_ranks, columns):
        for row in table.to_pylist():
            whole = tokens.get((row["document"], row["context_start"]))
            at = row["position"] - row["peak"] - row["context_start"]
            lost += whole is None
            other += whole is not None and whole[at : at + len(row["tokens"])] != row["tokens"]
    if lost:
        yield f"{schema.CONTEXTS} lacks the contexts of {lost:,} examples"
    if other:
        yield f"{schema.CONTEXTS} has other words than {other:,} examples"


def contexts_of(cache: NeuronCache, kinds: Sequence[Kind], n_ranks: int) -> set[Name]:
    """The contexts that the first `n_ranks` examples of some kinds come from."""
    found: set[Name] = set()
    for table in _examples(cache, kinds, n_ranks, ["document", "context_start"]):
        found.update(zip(*(column.to_pylist() for column in table.columns), strict=True))
    return found


def _examples(
    cache: NeuronCache, kinds: Sequence[Kind], n_ranks: int, columns: list[str]
) -> Iterator[pa.Table]:
    """The examples whose contexts are kept, a file at a time."""
    for file in sorted((cache.path / schema.EXAMPLES).rglob("*.parquet")):
        name = file.relative_to(cache.path).as_posix()
        table = cache.files.read(name, columns=["kind", "rank", *columns])
        chosen = pc.and_(pc.is_in(table["kind"], pa.array(list(kinds))), pc.less(table["rank"], n_ranks))
        yield table.filter(chosen).select(columns)
