"""The state of a build: every layer's statistics and the tallies of the documents read so far.

`merge` adds the state of another part of the corpus. `shard_file.py` saves states.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, field

import numpy as np
import numpy.typing as npt

from cache.format.schema import (
    CacheError,
    CorpusRecord,
    Manifest,
    Provenance,
    SourceRecord,
)
from cache.shards.corpus import ContextSample, CorpusPart, TokenizedDocument, corpus_digest
from cache.shards.settings import Settings
from cache.statistics.hook import MAX_SOURCES, HookStatistics


@dataclass
class SourceTally:
    """Documents and tokens of one source of text."""

    n_documents: int = 0
    n_tokens: int = 0


@dataclass
class BuildState:
    """Statistics of every layer over the documents read so far."""

    settings: Settings
    layers: dict[int, list[HookStatistics]]
    """By layer, one for each of `settings.hooks`."""
    token_counts: npt.NDArray[np.int64]
    """`[V]` occurrences of each token."""
    sample: ContextSample
    names: set[str] = field(default_factory=set)
    """Names of the corpora, see `Corpus.names`."""
    parts: dict[str, list[int]] = field(default_factory=dict)
    """Parts that were read: the numbers K of each JSON `[NAMES, N]`, a corpus and its number of parts."""
    n_documents: int = 0
    n_contexts: int = 0
    n_tokens: int = 0
    n_bytes: int = 0
    digest: int = 0
    """Sum modulo 2^256 of the documents' digests."""
    sources: dict[str, SourceTally] | None = field(default_factory=dict)
    """By source; None once there are more than MAX_SOURCES, when statistics by source are dropped."""
    documents: dict[int, Provenance] = field(default_factory=dict)
    """Provenance by document, of at least all documents that an example or sampled context comes from."""
    source_rows: list[str] = field(default_factory=list)
    """Source of each row of `HookStatistics.source_mass`, in order of appearance; at most MAX_SOURCES."""

    @classmethod
    def empty(cls, settings: Settings) -> "BuildState":
        """Return the state before any document is read."""
        model = settings.model
        return cls(
            settings=settings,
            layers={
                layer: [
                    HookStatistics.empty(
                        model.d_mlp, len(settings.hooks), model.d_vocab, settings.statistics_options
                    )
                    for _ in settings.hooks
                ]
                for layer in settings.layers
            },
            token_counts=np.zeros(model.d_vocab, dtype=np.int64),
            sample=ContextSample(settings.sample_tokens, settings.seed),
        )

    def count(self, document: TokenizedDocument, n_contexts: int) -> None:
        """Count a document that was read and cut into `n_contexts` contexts."""
        self.n_documents += 1
        self.n_contexts += n_contexts
        self.n_tokens += len(document.tokens)
        self.n_bytes += document.n_bytes
        self.digest = (self.digest + document.digest) % 2**256
        self._add_provenance(document.id, document.provenance)
        np.add.at(self.token_counts, document.tokens, 1)
        self._add_tally(document.provenance.source, SourceTally(1, len(document.tokens)))

    def _add_provenance(self, document: int, provenance: Provenance) -> None:
        # Documents of one name may differ in language or licence, which are not hashed: keep the first.
        other = self.documents.get(document, provenance)
        self.documents[document] = min(provenance, other, key=astuple)

    def _add_tally(self, source: str, more: SourceTally) -> None:
        if self.sources is None:
            return
        tally = self.sources.setdefault(source, SourceTally())
        tally.n_documents += more.n_documents
        tally.n_tokens += more.n_tokens
        # All or nothing: the first 256 of many sources would depend on the order of documents.
        if len(self.sources) > MAX_SOURCES:
            self.sources, self.source_rows = None, []

    def source_row(self, source: str) -> int:
        """Return the row of a source in `source_mass`, adding it if it is new; -1 if there are too many."""
        if self.sources is None or (source not in self.source_rows and len(self.source_rows) == MAX_SOURCES):
            return -1
        if source not in self.source_rows:
            self.source_rows.append(source)
        return self.source_rows.index(source)

    def claim(self, names: Sequence[str], part: CorpusPart) -> None:
        """Record that this state contains a part of a corpus.

        Raises:
            CacheError: it contains the part already, or parts of another division of the corpus.
        """
        description = f"part {part.k}/{part.n} of {', '.join(names)}"
        for division in self.parts:
            others, n = json.loads(division)
            if others != list(names) or n == part.n:
                continue
            if n == 1:
                raise CacheError(f"{description} is counted twice: the whole corpus is there already")
            raise CacheError(f"{description} overlaps with its parts of {n}: merge parts of one division")
        division = json.dumps([names, part.n])
        numbers = self.parts.setdefault(division, [])
        if part.k in numbers:
            raise CacheError(f"{description} is counted twice")
        numbers.append(part.k)
        numbers.sort()
        if len(numbers) == part.n:  # the state of a whole corpus must not depend on how it was divided
            del self.parts[division]
            self.parts[json.dumps([names, 1])] = [0]
        self.names |= set(names)

    def check_complete(self) -> None:
        """Raise CacheError if a part of a corpus is missing."""
        for division, numbers in self.parts.items():
            names, n = json.loads(division)
            missing = sorted(set(range(n)) - set(numbers))
            if missing:
                listed = ", ".join(f"{k}/{n}" for k in missing)
                raise CacheError(
                    f"of {', '.join(names)} these parts are missing: {listed}. Build them, then merge all"
                )

    def merge(self, other: "BuildState") -> None:
        """Add the state of another part of the corpus.

        Raises:
            CacheError: it has other settings, or a part that this state contains already.
        """
        if other.settings != self.settings:
            differing = self.settings.difference(other.settings)
            raise CacheError(f"these shards are not parts of one cache: {differing}")
        # First, since it may fail: nothing has been added then.
        for division, numbers in other.parts.items():
            names, n = json.loads(division)
            for k in numbers:
                self.claim(names, CorpusPart(k, n))
        for name in ("n_documents", "n_contexts", "n_tokens", "n_bytes"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.digest = (self.digest + other.digest) % 2**256
        if other.sources is None:
            self.sources, self.source_rows = None, []
        for source, tally in (other.sources or {}).items():
            self._add_tally(source, tally)
        rows = np.array([self.source_row(source) for source in other.source_rows], dtype=np.int64)
        self.token_counts += other.token_counts
        for layer, hooks in self.layers.items():
            for hook, other_hook in zip(hooks, other.layers[layer], strict=True):
                hook.merge(other_hook, rows)
        self.sample.merge(other.sample)
        for document, provenance in other.documents.items():
            self._add_provenance(document, provenance)
        self.drop_unused_documents()

    def used_documents(self) -> set[int]:
        """Return the documents that an example or a sampled context comes from."""
        documents = self.sample.documents()
        for hooks in self.layers.values():
            for hook in hooks:
                for lists in (hook.ranges, hook.top, hook.bottom):
                    documents.update(np.unique(lists.document[lists.length > 0]).tolist())
        return documents

    def drop_unused_documents(self) -> None:
        """Drop the provenance of documents that no example or sampled context comes from."""
        used = self.used_documents()
        self.documents = {d: p for d, p in self.documents.items() if d in used}

    def canonicalize(self) -> None:
        """Bring the whole state into canonical form: equal states have equal bytes."""
        self.drop_unused_documents()
        # Sources have rows in order of appearance, which depends on the order of documents: sort by name.
        order = sorted(range(len(self.source_rows)), key=self.source_rows.__getitem__)
        rows = np.array(order, dtype=np.int64)
        for hooks in self.layers.values():
            for hook in hooks:
                hook.canonicalize()
                mass = np.zeros_like(hook.source_mass)
                mass[: len(rows)] = hook.source_mass[rows]
                hook.source_mass = mass
        self.source_rows.sort()

    def manifest(self) -> Manifest:
        """Return the manifest of the cache of this state."""
        s = self.settings
        return Manifest(
            version=3 if s.tokenization is None else 4,
            model=s.model,
            tokenization=s.tokenization,
            corpus=CorpusRecord(
                names=sorted(self.names),
                sample=s.sample,
                seed=s.seed,
                n_documents=self.n_documents,
                n_contexts=self.n_contexts,
                n_tokens=self.n_tokens,
                n_bytes=self.n_bytes,
                sha256=corpus_digest(self.digest),
                sources=[
                    SourceRecord(source=name, n_documents=t.n_documents, n_tokens=t.n_tokens)
                    for name, t in sorted((self.sources or {}).items())
                ],
            ),
            layers=s.layers,
            hooks=s.hooks,
            dtype=s.dtype,
            device=s.device,
            top_k=s.top_k,
            range_samples=s.range_samples,
            window_before=s.window.before,
            window_after=s.window.after,
            sample_window_before=s.sample_window.before,
            sample_window_after=s.sample_window.after,
            by_token=s.by_token,
            token_min_count=s.token_min_count,
            sample_tokens=s.sample_tokens,
            neurons_per_part=s.neurons_per_part,
            versions=s.versions,
        )


def merged(states: Iterable[BuildState]) -> BuildState:
    """Merge states into the first of them, and return it.

    Raises:
        CacheError: there is no state, or they are not parts of one cache.
    """
    result: BuildState | None = None
    for state in states:
        if result is None:
            result = state
        else:
            result.merge(state)
    if result is None:
        raise CacheError("expected at least one shard to merge, got none")
    return result
