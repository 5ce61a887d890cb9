"""`contexts.parquet`: whole contexts of examples, read again from the text and added to a finished cache.

solu cache contexts models/solu-1l/neurons --model models/solu-1l --data PATH

A build itself keeps only a window around each peak, so that its memory does not depend on the length of
contexts.
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
from cache.shards.tokenization import tokenization_from_records
from cache.storage.checksums import renew_checksum
from cache.storage.disk import atomic_write
from cache.writing.cache_folder import COMPRESSION
from solu_model.text.documents import CorpusOptions, check_corpus

_CONTEXTS_PER_GROUP = 128
"""Contexts in a row group, all of which are decompressed to read one of them."""

ContextName = tuple[int, int]
"""Name of a context: its document, and the index in it of the first token after the BOS."""


def add_contexts(
    path: Path,
    data: Sequence[str | Path],
    tokenizer: PreTrainedTokenizerFast,
    *,
    kinds: Sequence[Kind] = ("top",),
    n_ranks: int | None = None,
    text: CorpusOptions | None = None,
    progress: bool = True,
) -> int:
    """Add the whole contexts of examples to a cache, in place of any that it has.

    This takes 4 bytes of memory for each token of these contexts.

    Args:
        path: the cache's folder.
        data: the text that the cache was built from.
        tokenizer: the tokenizer that the cache was built with.
        kinds: kinds of the examples: strongest, weakest, sampled.
        n_ranks: number of examples of each neuron, hook and kind (and range); all where None.
        text: the part of `data` that is text, as in the build.
        progress: draw a progress bar.

    Returns:
        The number of contexts.

    Raises:
        CacheError: the cache has version 1, or was built with another tokenizer or from other text; it is
            unchanged.
        NotWritten: the disk is full; the cache is unchanged.
    """
    cache = NeuronCache.open(path)
    manifest = cache.manifest
    if manifest.version == 1:
        raise CacheError(f"{path} is of version 1, which does not name documents: build it again")
    tokenization = tokenization_from_records(tokenizer, manifest.model, manifest.tokenization)
    n_ranks = n_ranks or max(manifest.top_k, manifest.range_samples or 0)
    wanted = contexts_of(cache, kinds, n_ranks)
    text = text or CorpusOptions()
    check_corpus(data, text)
    corpus = Corpus(data, manifest.corpus.sample, manifest.corpus.seed, text=text)
    documents = corpus.documents(tokenization, only={document for document, _ in wanted})
    n_documents = len({document for document, _ in wanted})
    tokens: dict[ContextName, npt.NDArray[np.int32]] = {}
    with tqdm(
        documents, total=n_documents, desc="contexts", unit="document", disable=None if progress else True
    ) as bar:
        for document in bar:
            for context in tokenization.contexts(document.id, document.tokens.tolist()):
                if (document.id, context.start) in wanted:
                    tokens[document.id, context.start] = context.text_tokens.astype(np.int32)
    if missing := wanted - tokens.keys():
        raise CacheError(
            f"{len(missing):,} of {len(wanted):,} contexts are not in the text given: expected all of "
            f"{', '.join(manifest.corpus.names)} (`solu cache verify --data` compares them)"
        )
    names = sorted(tokens)
    table = pa.table(
        {
            "document": [document for document, _ in names],
            "context_start": [start for _, start in names],
            "tokens": [tokens[name] for name in names],
        },
        schema=schema.SAMPLE_SCHEMA,
    )
    with atomic_write(path / schema.CONTEXTS) as aside:
        write_contexts(table, kinds, n_ranks, aside)
    renew_checksum(path, schema.CONTEXTS)
    return len(names)


def write_contexts(table: pa.Table, kinds: Sequence[Kind], n_ranks: int, file: Path) -> None:
    """Write `contexts.parquet`: a table of contexts, and the examples that they belong to as metadata."""
    metadata = {"kinds": ",".join(sorted(kinds)), "ranks": str(n_ranks)}
    pq.write_table(
        table.replace_schema_metadata(metadata), file, row_group_size=_CONTEXTS_PER_GROUP, **COMPRESSION
    )


def context_problems(cache: NeuronCache) -> Iterator[str]:
    """Yield one sentence for each kind of disagreement between `contexts.parquet` and the examples."""
    stored = cache.contexts_kept
    if stored is None:
        return
    rows = cache.files.read(schema.CONTEXTS).to_pydict()
    names = list(zip(rows["document"], rows["context_start"], strict=True))
    tokens = dict(zip(names, rows["tokens"], strict=True))
    if names != sorted(tokens):
        yield f"{schema.CONTEXTS}: contexts out of order, or twice"
    n_missing = n_different = 0
    columns = ["document", "context_start", "position", "peak", "tokens"]
    for table in _examples(cache, stored.kinds, stored.n_ranks, columns):
        for row in table.to_pylist():
            context = tokens.get((row["document"], row["context_start"]))
            begin = row["position"] - row["peak"] - row["context_start"]
            if context is None:
                n_missing += 1
            elif context[begin : begin + len(row["tokens"])] != row["tokens"]:
                n_different += 1
    if n_missing:
        yield f"{schema.CONTEXTS} lacks the contexts of {n_missing:,} examples"
    if n_different:
        yield f"{schema.CONTEXTS} has other tokens than {n_different:,} examples"


def contexts_of(cache: NeuronCache, kinds: Sequence[Kind], n_ranks: int) -> set[ContextName]:
    """Return the contexts that the first `n_ranks` examples of some kinds come from."""
    names: set[ContextName] = set()
    for table in _examples(cache, kinds, n_ranks, ["document", "context_start"]):
        names.update(zip(*(column.to_pylist() for column in table.columns), strict=True))
    return names


def _examples(
    cache: NeuronCache, kinds: Sequence[Kind], n_ranks: int, columns: list[str]
) -> Iterator[pa.Table]:
    """Yield the first `n_ranks` examples of some kinds, a table for each file."""
    for file in sorted((cache.path / schema.EXAMPLES).rglob("*.parquet")):
        name = file.relative_to(cache.path).as_posix()
        table = cache.files.read(name, columns=["kind", "rank", *columns])
        chosen = pc.and_(pc.is_in(table["kind"], pa.array(list(kinds))), pc.less(table["rank"], n_ranks))
        yield table.filter(chosen).select(columns)
