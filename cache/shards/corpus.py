"""The documents that a build reads: chosen, tokenized and named; and the sample of their contexts."""

import hashlib
from bisect import bisect_left
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from random import Random

import numpy as np
import numpy.typing as npt

from cache.format.schema import CacheError, Provenance
from cache.statistics.identity import chosen, document_digest, token_hashes
from solu_model.text.documents import CorpusOptions, corpus_names, in_batches, read_documents
from solu_model.text.tokenization import Tokenization

_DOCUMENTS_AT_ONCE = 64
"""Most documents that are tokenized together."""


@dataclass(frozen=True, slots=True)
class CorpusPart:
    """One of `n` parts of a corpus: the documents whose name modulo `n` is `k`."""

    k: int = 0
    n: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.k < self.n:
            raise CacheError(f"a part is K/N with 0 <= K < N, got {self.k}/{self.n}")

    def holds(self, document: int) -> bool:
        """Return True if the document of this name is in this part."""
        return document % self.n == self.k


@dataclass(frozen=True, slots=True)
class TokenizedDocument:
    """A document as tokens."""

    id: int
    """Name of the document: the lowest 63 bits of `digest`."""
    digest: int
    """See `cache.statistics.identity.document_digest`."""
    n_bytes: int
    """Length of its text in UTF-8."""
    provenance: Provenance
    tokens: npt.NDArray[np.int64]
    """Token ids without a BOS; empty for a skipped document."""


@dataclass(frozen=True)
class Corpus:
    """The documents that a build reads, or one part of them."""

    paths: Sequence[str | Path]
    """See `solu_model.text.documents.read_documents`."""
    sample: float = 1.0
    """Share of the documents that is read; each is chosen by its name and the seed alone."""
    seed: int = 0
    part: CorpusPart = field(default_factory=CorpusPart)
    text: CorpusOptions = field(default_factory=CorpusOptions)
    """The part of the paths that is text."""

    def __post_init__(self) -> None:
        if not 0 < self.sample <= 1:
            raise CacheError(f"sample must be above 0 and at most 1, got {self.sample}")

    @property
    def names(self) -> list[str]:
        """Names of the paths and of the text selected from them, in name order: see `corpus_names`."""
        return sorted(set(corpus_names(self.paths, self.text)))

    def documents(
        self, tokenization: Tokenization, skip: int = 0, only: Container[int] | None = None
    ) -> Iterator[TokenizedDocument]:
        """Yield the documents, tokenized.

        Args:
            tokenization: the model's.
            skip: number of first documents that are not tokenized; they are yielded without tokens.
            only: names of the documents to yield; all of them where None.
        """
        chosen_texts = (row for row in self._chosen_texts() if only is None or _id(row[2]) in only)
        for text, provenance, digest in islice(chosen_texts, skip):
            no_tokens = np.empty(0, np.int64)
            yield TokenizedDocument(_id(digest), digest, len(text.encode()), provenance, no_tokens)
        for batch in in_batches(chosen_texts, _DOCUMENTS_AT_ONCE, lambda row: row[0]):
            encoded = tokenization.encode([text for text, _, _ in batch])
            for (text, provenance, digest), ids in zip(batch, encoded, strict=True):
                tokens = np.array(ids, dtype=np.int64)
                yield TokenizedDocument(_id(digest), digest, len(text.encode()), provenance, tokens)

    def _chosen_texts(self) -> Iterator[tuple[str, Provenance, int]]:
        """Yield text, provenance and digest of each document in this part and sample."""
        for document in read_documents(self.paths, self.text):
            digest = document_digest(document.text.encode(), document.source, document.origin)
            name = _id(digest)
            # By name, not by order: any division and order of the files chooses the same documents.
            if self.part.holds(name) and chosen(name, self.seed, self.sample):
                yield (
                    document.text,
                    Provenance(document.source, document.lang, document.licence, document.origin),
                    digest,
                )


def _id(digest: int) -> int:
    return digest & 0x7FFFFFFFFFFFFFFF


class ContextSample:
    """A uniform sample of whole contexts, chosen regardless of activation.

    It takes contexts in order of their priority, a hash of their name, until one does not fit in `n_tokens`.
    So the sample of a union of two corpora is contained in the union of their samples.
    """

    def __init__(self, n_tokens: int, seed: int) -> None:
        self.n_tokens, self.seed = n_tokens, seed
        self.contexts: list[tuple[int, int, int, bytes]] = []
        """Priority, document, start and tokens (without the BOS, little-endian uint32), ascending."""
        self.ceiling = 2**64
        """Priority of the first context that did not fit: no context from there on is taken."""
        self._n_held = 0

    def offer(self, document: int, start: int, tokens: npt.NDArray[np.int64]) -> None:
        """Take a context, given by its tokens without a BOS, if it belongs to the sample."""
        hashed = token_hashes(document ^ self.seed, np.array([-2 - start], dtype=np.int64))
        priority = int(hashed[0])
        if priority < self.ceiling:  # few contexts pass, so tokens are converted for those alone
            self._insert((priority, document, start, tokens.astype("<u4").tobytes()))

    def merge(self, other: "ContextSample") -> None:
        """Add the sample of another part of the corpus."""
        # A context that did not fit in either part does not fit in both.
        self.ceiling = min(self.ceiling, other.ceiling)
        for context in other.contexts:
            self._insert(context)
        self._fit()

    def restore(self, contexts: list[tuple[int, int, int, bytes]], ceiling: int) -> None:
        """Restore the contexts and ceiling of a saved sample."""
        self.contexts, self.ceiling = contexts, ceiling
        self._n_held = sum(len(tokens) // 4 for _, _, _, tokens in contexts)

    def documents(self) -> set[int]:
        """Return the names of the documents of the contexts."""
        return {document for _, document, _, _ in self.contexts}

    def _insert(self, context: tuple[int, int, int, bytes]) -> None:
        at = bisect_left(self.contexts, context)
        if at < len(self.contexts) and self.contexts[at] == context:  # the document occurs twice
            return
        self.contexts.insert(at, context)
        self._n_held += len(context[3]) // 4
        self._fit()

    def _fit(self) -> None:
        while self.contexts and (self._n_held > self.n_tokens or self.contexts[-1][0] >= self.ceiling):
            priority, _, _, tokens = self.contexts.pop()
            self._n_held -= len(tokens) // 4
            self.ceiling = min(self.ceiling, priority)


def corpus_digest(total: int) -> str:
    """Return the digest of a corpus, in hexadecimal, from the sum of its documents' digests."""
    return f"{total % 2**256:064x}"


def document_digests(
    paths: Sequence[str | Path], sample: float, seed: int, text: CorpusOptions
) -> Iterator[int]:
    """Yield the digest of every document that a build reads, from the text itself."""
    for _, _, digest in Corpus(paths, sample, seed, text=text)._chosen_texts():
        yield digest


def text_digest_v1(
    paths: Sequence[str | Path], sample: float, seed: int, text: CorpusOptions
) -> tuple[str, int]:
    """Return the digest of a corpus as version 1 defined it, and its number of documents.

    Documents were chosen by a random generator in the order read, and their texts hashed in that order.
    """
    chance, digest, n = Random(seed), hashlib.sha256(), 0
    for document in read_documents(paths, text):
        if chance.random() < sample:
            content = document.text.encode()
            digest.update(len(content).to_bytes(8, "little") + content)
            n += 1
    return digest.hexdigest(), n
