"""Text on its way to the model: which documents are read, what they are called, what was seen of them."""

import hashlib
from bisect import bisect_left
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from random import Random

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedTokenizerFast

from cache.format.schema import CacheError, Provenance
from cache.statistics.identity import chosen, document_digest, token_hashes
from solu_model.text.documents import read_documents
from solu_model.text.tokenizer import encode_texts

_ENCODED_AT_ONCE = 64  # documents


@dataclass(frozen=True, slots=True)
class Part:
    """One of `n` parts of a corpus: the documents whose name leaves `k` when divided by `n`."""

    k: int = 0
    n: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.k < self.n:
            raise CacheError(f"a part is K/N with 0 <= K < N, got {self.k}/{self.n}")

    def holds(self, document: int) -> bool:
        """Whether the document is in this part."""
        return document % self.n == self.k


@dataclass(frozen=True, slots=True)
class Text:
    """A tokenized document."""

    id: int
    """Its name, see `cache.statistics.identity.document_digest`."""
    digest: int
    n_bytes: int
    provenance: Provenance
    tokens: npt.NDArray[np.int64]
    """Without a BOS; empty where the tokenizer finds nothing."""


@dataclass(frozen=True)
class Corpus:
    """The documents that one part of a build reads."""

    paths: Sequence[str | Path]
    """See `solu_model.text.documents.read_documents`."""
    sample: float = 1.0
    """Share of the documents, each chosen by its name and the seed alone."""
    seed: int = 0
    part: Part = field(default_factory=Part)

    def __post_init__(self) -> None:
        if not 0 < self.sample <= 1:
            raise CacheError(f"sample must be above 0 and at most 1, got {self.sample}")

    @property
    def names(self) -> list[str]:
        """The paths without what only one machine has, in name order."""
        return sorted({"/".join(Path(p).parts[-2:]) for p in self.paths})

    def texts(
        self, tokenizer: PreTrainedTokenizerFast, skip: int = 0, only: Container[int] | None = None
    ) -> Iterator[Text]:
        """The documents, tokenized; the first `skip` of them are read but come without tokens.

        Args:
            only: names of documents; the others are left out.
        """
        found = (one for one in self._chosen() if only is None or _id(one[2]) in only)
        for text, where, digest in islice(found, skip):
            yield Text(_id(digest), digest, len(text.encode()), where, np.empty(0, np.int64))
        while batch := list(islice(found, _ENCODED_AT_ONCE)):
            encoded = encode_texts(tokenizer, [text for text, _, _ in batch])
            for (text, where, digest), ids in zip(batch, encoded, strict=True):
                yield Text(_id(digest), digest, len(text.encode()), where, np.array(ids, dtype=np.int64))

    def _chosen(self) -> Iterator[tuple[str, Provenance, int]]:
        for document in read_documents(self.paths):
            digest = document_digest(document.text.encode(), document.source, document.origin)
            name = _id(digest)
            if self.part.holds(name) and chosen(name, self.seed, self.sample):
                yield (
                    document.text,
                    Provenance(document.source, document.lang, document.licence, document.origin),
                    digest,
                )


def _id(digest: int) -> int:
    return digest & 0x7FFFFFFFFFFFFFFF


class ContextSample:
    """A uniform sample of whole contexts, chosen without regard to activation.

    Contexts in order of a hash of their name, as many as fit in `n_tokens` before the first that does not:
    the union of two samples' contexts holds the sample of the union.
    """

    def __init__(self, n_tokens: int, seed: int) -> None:
        self.n_tokens, self.seed = n_tokens, seed
        self.contexts: list[tuple[int, int, int, bytes]] = []
        """Priority, document, start, tokens (without the BOS) as little-endian uint32; in this order."""
        self.ceiling = 2**64
        """Priority of the first context that did not fit: from there on none is taken."""
        self._held = 0

    def offer(self, document: int, start: int, tokens: npt.NDArray[np.int64]) -> None:
        """Consider a context, its BOS included."""
        hashed = token_hashes(document ^ self.seed, np.array([-2 - start], dtype=np.int64))
        priority = int(hashed[0])
        if priority < self.ceiling:
            self._insert((priority, document, start, tokens[1:].astype("<u4").tobytes()))

    def merge(self, other: "ContextSample") -> None:
        """Take in the sample of another part of the corpus."""
        self.ceiling = min(self.ceiling, other.ceiling)
        for context in other.contexts:
            self._insert(context)
        self._fit()

    def restore(self, contexts: list[tuple[int, int, int, bytes]], ceiling: int) -> None:
        """Go on from what was held."""
        self.contexts, self.ceiling = contexts, ceiling
        self._held = sum(len(tokens) // 4 for _, _, _, tokens in contexts)

    def documents(self) -> set[int]:
        """Documents that contexts come from."""
        return {document for _, document, _, _ in self.contexts}

    def _insert(self, context: tuple[int, int, int, bytes]) -> None:
        at = bisect_left(self.contexts, context)
        if at < len(self.contexts) and self.contexts[at] == context:  # a document that came twice
            return
        self.contexts.insert(at, context)
        self._held += len(context[3]) // 4
        self._fit()

    def _fit(self) -> None:
        while self.contexts and (self._held > self.n_tokens or self.contexts[-1][0] >= self.ceiling):
            priority, _, _, tokens = self.contexts.pop()
            self._held -= len(tokens) // 4
            self.ceiling = min(self.ceiling, priority)


def corpus_digest(total: int) -> str:
    """A corpus's name from the sum of its documents' digests."""
    return f"{total % 2**256:064x}"


def document_digests(paths: Sequence[str | Path], sample: float, seed: int) -> Iterator[int]:
    """The digest of every document that a build reads, from the text itself."""
    for _, _, digest in Corpus(paths, sample, seed)._chosen():
        yield digest


def text_digest_v1(paths: Sequence[str | Path], sample: float, seed: int) -> tuple[str, int]:
    """Version 1's name of a corpus and its number of documents, from the text itself: documents were drawn
    one after another, their texts hashed in that order."""
    chance, digest, n = Random(seed), hashlib.sha256(), 0
    for document in read_documents(paths):
        if chance.random() < sample:
            text = document.text.encode()
            digest.update(len(text).to_bytes(8, "little") + text)
            n += 1
    return digest.hexdigest(), n
