"""Verify a cache, or the shards of one: undamaged, consistent, and built from its model and text."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from tqdm import tqdm

from cache.checking.invariants import inconsistencies
from cache.format.schema import VOCABULARY, CacheError, ModelRecord, TokenizationRecord
from cache.reader import NeuronCache
from cache.shards.corpus import CorpusPart, corpus_digest, document_digests, text_digest_v1
from cache.shards.settings import Settings
from cache.shards.shard_file import load_state
from cache.storage.checksums import damaged_files
from cache.writing.contexts import context_problems
from solu_model.text.documents import CorpusOptions, check_corpus

_MAX_PARTS = 64
"""Most parts of a division of the text that is tried, to name a part that is missing or counted twice."""


def cache_problems(
    path: Path,
    *,
    model: Path | None = None,
    data: Sequence[str | Path] = (),
    text: CorpusOptions | None = None,
    tokenizer: str | None = None,
    progress: bool = False,
) -> Iterator[str]:
    """Yield one sentence for each problem of a cache.

    Args:
        path: the folder of the cache.
        model: the checkpoint that it should be built from; not compared if None.
        data: the text that it should be built from; not compared if empty.
        text: the part of `data` that is text, as in the build.
        tokenizer: a tokenizer in place of the checkpoint's own.
        progress: draw progress bars.
    """
    try:
        cache = NeuronCache.open(path)
    except CacheError as error:
        yield str(error)
        yield from _damaged(path, progress) if path.is_dir() else ()
        return
    manifest = cache.manifest
    text = text or CorpusOptions()
    if data:
        check_corpus(data, text)
    if manifest.version >= 2:
        yield from _damaged(path, progress)
    yield from inconsistencies(cache, progress=progress)
    try:
        yield from context_problems(cache)
    except CacheError as error:
        yield str(error)
    yield from _weights_problems(manifest.model, model)
    yield from _tokenizer_problems(manifest.model, manifest.tokenization, tokenizer or model, cache)
    corpus = manifest.corpus
    if data and manifest.version == 1:
        digest, n = text_digest_v1(data, corpus.sample, corpus.seed, text)
        if (digest, n) != (corpus.sha256, corpus.n_documents):
            yield (
                f"the text is not the one that was read: {n:,} documents of digest {digest[:12]}, expected "
                f"{corpus.n_documents:,} of {corpus.sha256[:12]}, in the order in which they were read"
            )
    elif data:
        yield from _text_problems(
            data, text, corpus.sample, corpus.seed, corpus.sha256, corpus.n_documents, progress
        )


def shard_problems(
    files: Sequence[Path],
    *,
    model: Path | None = None,
    data: Sequence[str | Path] = (),
    text: CorpusOptions | None = None,
    tokenizer: str | None = None,
    progress: bool = False,
) -> Iterator[str]:
    """Yield one sentence for each reason why shards do not merge into a complete cache.

    Args:
        files: the shards.
        model, data, text, tokenizer, progress: as in `cache_problems`.
    """
    settings: Settings | None = None
    files_of: dict[str, dict[int, Path]] = {}  # by division of a corpus, then by part
    digest = n_documents = 0
    damaged = False
    text = text or CorpusOptions()
    if data:
        check_corpus(data, text)
    for file in tqdm(files, desc="shards", unit="shard", disable=None if progress else True, leave=False):
        try:
            state = load_state(file)  # each takes as much memory as a build, so none is kept
        except CacheError as error:
            damaged = True
            yield str(error)
            continue
        digest, n_documents = digest + state.digest, n_documents + state.n_documents
        if settings is None:
            settings = state.settings
            yield from _weights_problems(settings.model, model)
            yield from _tokenizer_problems(settings.model, settings.tokenization, tokenizer or model)
        elif state.settings != settings:
            difference = settings.difference(state.settings)
            yield f"{file} is not a part of the same cache as {files[0]}: {difference}"
        for division, parts in state.parts.items():
            own_files = files_of.setdefault(division, {})
            for k in parts:
                if k in own_files:
                    yield f"part {k}/{json.loads(division)[1]} is counted twice: {own_files[k]} and {file}"
                own_files[k] = file
    for division, own_files in files_of.items():
        names, n = json.loads(division)
        missing = sorted(set(range(n)) - own_files.keys())
        if missing:
            listed = ", ".join(f"{k}/{n}" for k in missing)
            yield f"of {', '.join(names)} these parts are missing: {listed}"
    corpora = [json.dumps(json.loads(division)[0]) for division in files_of]
    if len(set(corpora)) < len(corpora):
        numbers = ", ".join(str(json.loads(division)[1]) for division in files_of)
        yield f"the same text was divided in different ways, into {numbers} parts: some is counted twice"
    if data and settings is not None and not damaged:
        expected = corpus_digest(digest)
        yield from _text_problems(data, text, settings.sample, settings.seed, expected, n_documents, progress)


def _damaged(path: Path, progress: bool) -> Iterator[str]:
    """Yield the damaged files, or one sentence if there are no checksums."""
    try:
        yield from damaged_files(path, progress=progress)
    except CacheError as error:
        yield str(error)


def _weights_problems(record: ModelRecord, model: Path | None) -> Iterator[str]:
    from solu_model.loading.checkpoint_files import weights_hash

    if model is not None and (own := weights_hash(model)) != record.sha256:
        yield (
            f"it was built from other weights than those of {model}: SHA-256 {record.sha256[:12]}, "
            f"those have {own[:12]}"
        )


def _tokenizer_problems(
    model: ModelRecord,
    record: TokenizationRecord | None,
    path: str | Path | None,
    cache: NeuronCache | None = None,
) -> Iterator[str]:
    """Compare the records of a build, and the vocabulary of its cache, with a tokenizer, if there is one."""
    if path is None:
        return
    from cache.shards.tokenization import recorded
    from solu_model.loading.checkpoints import load_tokenizer
    from solu_model.text.tokenization import Tokenization

    try:
        own = Tokenization.by_tokenizer(load_tokenizer(path), model.d_vocab, model.n_ctx)
        if own.sha256 != model.tokenizer:
            yield (
                f"it was built with another tokenizer than that of {path}: SHA-256 {model.tokenizer[:12]}, "
                f"that one has {own.sha256[:12]}"
            )
        else:
            recorded(own, model, record)
        stored = None if cache is None else cache.files.read(VOCABULARY, columns=["bytes"])
    except ValueError as error:
        yield f"{path}: {error}"
        return
    if stored is not None and stored["bytes"].to_pylist() != own.token_bytes:
        yield f"{VOCABULARY} is not the vocabulary of {path}"


def _text_problems(
    data: Sequence[str | Path],
    text: CorpusOptions,
    sample: float,
    seed: int,
    sha256: str,
    n_documents: int,
    progress: bool,
) -> Iterator[str]:
    """Compare the documents that were counted with the text; where they differ, guess the part in question.

    Digests are added modulo 2^256. So the difference of the two sums is the digest of a document, or the sum
    over a part, if exactly that one is missing or counted twice.
    """
    digests = list(
        tqdm(
            document_digests(data, sample, seed, text),
            desc="text",
            unit=" documents",
            disable=None if progress else True,
            leave=False,
        )
    )
    total = sum(digests)
    if corpus_digest(total) == sha256:
        if n_documents != len(digests):
            yield f"{n_documents:,} documents were counted, but the text has {len(digests):,}"
        return
    surplus = (int(sha256, 16) - total) % 2**256
    counts = f"{n_documents:,} documents were counted, and the text has {len(digests):,}"
    for verb, sum_of_part in (("counted twice", surplus), ("missing", -surplus % 2**256)):
        if sum_of_part in digests:
            yield f"{counts}: probably one document is {verb}"
            return
        if part := _part_of(digests, sum_of_part):
            yield f"{counts}: probably part {part.k}/{part.n} of the text is {verb}"
            return
    if n_documents > len(digests):
        yield f"{counts}: some are counted twice, or are not in the text given"
    elif n_documents < len(digests):
        yield f"{counts}: some are missing from the cache, or more text is given than it was built from"
    else:
        yield f"{counts}, but not the same ones: the text has changed"


def _part_of(digests: list[int], total: int) -> CorpusPart | None:
    """Return the part of the text whose digests have this sum, if there is one."""
    for n in range(2, _MAX_PARTS + 1):
        sums = [0] * n
        for digest in digests:
            sums[(digest & 0x7FFFFFFFFFFFFFFF) % n] += digest
        for k, part_sum in enumerate(sums):
            if part_sum and part_sum % 2**256 == total:
                return CorpusPart(k, n)
    return None
