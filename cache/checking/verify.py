"""Whether a cache, or the shards of one, is what was written and belongs to its model and its text."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from tqdm import tqdm

from cache.checking.consistency import readable
from cache.format.schema import VOCABULARY, CacheError, ModelRecord
from cache.reader import NeuronCache
from cache.shards.corpus import Part, corpus_digest, document_digests, text_digest_v1
from cache.shards.settings import Settings
from cache.shards.shard_file import load_state
from cache.storage.checksums import damaged_files
from cache.writing.contexts import context_problems

_MOST_PARTS = 64
"""Numbers of parts that are tried to name the one that is missing or counted twice."""


def cache_problems(
    path: Path,
    *,
    model: Path | None = None,
    data: Sequence[str | Path] = (),
    tokenizer: str | None = None,
    progress: bool = False,
) -> Iterator[str]:
    """Everything that is wrong with a cache, a sentence each.

    Args:
        path: its folder.
        model: the checkpoint that it should be built from; not compared where None.
        data: the text that it should be built from; not compared where empty.
        tokenizer: one in place of the checkpoint's own.
        progress: draw progress bars.
    """
    try:
        cache = NeuronCache.open(path)
    except CacheError as error:
        yield str(error)
        yield from _damaged(path, progress) if path.is_dir() else ()
        return
    manifest = cache.manifest
    if manifest.version >= 2:
        yield from _damaged(path, progress)
    yield from readable(cache, progress=progress)
    yield from context_problems(cache)
    yield from _model_problems(manifest.model, model, tokenizer)
    if model is not None or tokenizer is not None:
        yield from _vocabulary_problems(cache, tokenizer or model or "")
    corpus = manifest.corpus
    if data and manifest.version == 1:
        digest, n = text_digest_v1(data, corpus.sample, corpus.seed)
        if (digest, n) != (corpus.sha256, corpus.n_documents):
            yield (
                f"the text is not the one that was read: {n:,} documents of digest {digest[:12]}, expected "
                f"{corpus.n_documents:,} of {corpus.sha256[:12]}, in the order that they were read in"
            )
    elif data:
        yield from _text_problems(
            data, corpus.sample, corpus.seed, corpus.sha256, corpus.n_documents, progress
        )


def shard_problems(
    files: Sequence[Path],
    *,
    model: Path | None = None,
    data: Sequence[str | Path] = (),
    tokenizer: str | None = None,
    progress: bool = False,
) -> Iterator[str]:
    """Everything that keeps shards from being the whole of one cache; arguments as in `cache_problems`."""
    settings: Settings | None = None
    held: dict[str, dict[int, Path]] = {}
    digest = n_documents = 0
    damaged = False
    for file in tqdm(files, desc="shards", unit="shard", disable=None if progress else True, leave=False):
        try:
            state = load_state(file)  # one at a time: each takes as much memory as a build
        except CacheError as error:
            damaged = True
            yield str(error)
            continue
        digest, n_documents = digest + state.digest, n_documents + state.n_documents
        if settings is None:
            settings = state.settings
            yield from _model_problems(settings.model, model, tokenizer)
        elif state.settings != settings:
            yield f"{file} is no part of the same cache as {files[0]}: {settings.difference(state.settings)}"
        for cut, parts in state.parts.items():
            for k in parts:
                if k in held.setdefault(cut, {}):
                    yield f"part {k}/{json.loads(cut)[1]} is counted twice: {held[cut][k]} and {file}"
                held[cut][k] = file
    for cut, parts_held in held.items():
        names, n = json.loads(cut)
        missing = sorted(set(range(n)) - parts_held.keys())
        if missing:
            listed = ", ".join(f"{k}/{n}" for k in missing)
            yield f"of {', '.join(names)} these parts are missing: {listed}"
    names_of = [json.loads(cut)[0] for cut in held]
    if len({json.dumps(names) for names in names_of}) < len(names_of):
        numbers = ", ".join(str(json.loads(cut)[1]) for cut in held)
        yield f"the same text was cut in different ways, into {numbers} parts: parts of it are counted twice"
    if data and settings is not None and not damaged:
        expected = corpus_digest(digest)
        yield from _text_problems(data, settings.sample, settings.seed, expected, n_documents, progress)


def _damaged(path: Path, progress: bool) -> Iterator[str]:
    try:
        yield from damaged_files(path, progress=progress)
    except CacheError as error:
        yield str(error)


def _model_problems(record: ModelRecord, model: Path | None, tokenizer: str | None) -> Iterator[str]:
    from solu_model.files import weights_hash

    if model is not None and (found := weights_hash(model)) != record.sha256:
        yield (
            f"it was built from other weights than those of {model}: SHA-256 {record.sha256[:12]} there, "
            f"{found[:12]} here"
        )
    if model is None and tokenizer is None:
        return
    from solu_model.loading.checkpoints import load_tokenizer
    from solu_model.text.tokenizer import tokenizer_hash

    own = tokenizer or model or ""
    if (found := tokenizer_hash(load_tokenizer(own))) != record.tokenizer:
        yield (
            f"it was built with another tokenizer than that of {own}: SHA-256 {record.tokenizer[:12]} there, "
            f"{found[:12]} here"
        )


def _vocabulary_problems(cache: NeuronCache, tokenizer: str | Path) -> Iterator[str]:
    from solu_model.loading.checkpoints import load_tokenizer
    from solu_model.text.token_bytes import vocabulary_bytes

    try:
        written = cache.files.read(VOCABULARY, columns=["bytes"])["bytes"].to_pylist()
    except CacheError:
        return  # said before
    if written != vocabulary_bytes(load_tokenizer(tokenizer)):
        yield f"{VOCABULARY} is not the vocabulary of {tokenizer}"


def _text_problems(
    data: Sequence[str | Path], sample: float, seed: int, sha256: str, n_documents: int, progress: bool
) -> Iterator[str]:
    """What was counted against what there is; where they differ, which part it looks like."""
    found = document_digests(data, sample, seed)
    digests = list(
        tqdm(found, desc="text", unit=" documents", disable=None if progress else True, leave=False)
    )
    there = sum(digests)
    if corpus_digest(there) == sha256:
        if n_documents != len(digests):
            yield f"{n_documents:,} documents were counted, there are {len(digests):,}"
        return
    surplus = (int(sha256, 16) - there) % 2**256
    what = f"{n_documents:,} documents were counted, there are {len(digests):,}"
    for verb, sum_of_part in (("counted twice", surplus), ("missing", -surplus % 2**256)):
        if sum_of_part in digests:
            yield f"{what}: it looks as if one document is {verb}"
            return
        if part := _part_of(digests, sum_of_part):
            yield f"{what}: it looks as if part {part.k}/{part.n} of the text is {verb}"
            return
    if n_documents > len(digests):
        yield f"{what}: some are counted twice, or are not in the text given"
    elif n_documents < len(digests):
        yield f"{what}: some are missing from the cache, or more text is given than it was built from"
    else:
        yield f"as many documents as were counted, {n_documents:,}, but not the same: the text has changed"


def _part_of(digests: list[int], total: int) -> Part | None:
    """The part whose documents' digests have this sum, if there is one."""
    for n in range(2, _MOST_PARTS + 1):
        sums = [0] * n
        for digest in digests:
            sums[(digest & 0x7FFFFFFFFFFFFFFF) % n] += digest
        for k, found in enumerate(sums):
            if found and found % 2**256 == total:
                return Part(k, n)
    return None
