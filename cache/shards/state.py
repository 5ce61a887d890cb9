"""All that a build has seen so far: every layer's statistics and the tallies of the corpus.

`merge` joins the states of two parts of a corpus. As a file: `shard_file.py`.
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
from cache.shards.corpus import ContextSample, Part, Text, corpus_digest
from cache.shards.settings import Settings
from cache.statistics.hook import MAX_SOURCES, HookStatistics


@dataclass
class Tally:
    """Of one source of text."""

    n_documents: int = 0
    n_tokens: int = 0


@dataclass
class BuildState:
    """Statistics of every layer over the documents read so far."""

    settings: Settings
    layers: dict[int, list[HookStatistics]]
    """By layer, in the order of `settings.hooks`."""
    token_counts: npt.NDArray[np.int64]
    """`[V]` occurrences of each token."""
    sample: ContextSample
    names: set[str] = field(default_factory=set)
    parts: dict[str, list[int]] = field(default_factory=dict)
    """Which parts of which corpora are in it: the `K`s of each JSON `[NAMES, N]`."""
    n_documents: int = 0
    n_contexts: int = 0
    n_tokens: int = 0
    n_bytes: int = 0
    digest: int = 0
    """Sum of the documents' digests, modulo 2^256."""
    sources: dict[str, Tally] | None = field(default_factory=dict)
    """None once there are more than MAX_SOURCES: then nothing is kept by source."""
    documents: dict[int, Provenance] = field(default_factory=dict)
    """Of at least the documents that something kept comes from."""
    source_rows: list[str] = field(default_factory=list)
    """The source of each row of `source_mass`, in the order they came; cut at MAX_SOURCES."""

    @classmethod
    def empty(cls, settings: Settings) -> "BuildState":
        """Nothing read yet."""
        model = settings.model
        return cls(
            settings=settings,
            layers={
                layer: [
                    HookStatistics.empty(model.d_mlp, len(settings.hooks), model.d_vocab, settings.keep)
                    for _ in settings.hooks
                ]
                for layer in settings.layers
            },
            token_counts=np.zeros(model.d_vocab, dtype=np.int64),
            sample=ContextSample(settings.sample_tokens, settings.seed),
        )

    def count(self, text: Text, n_contexts: int) -> None:
        """Note that a document is read."""
        self.n_documents += 1
        self.n_contexts += n_contexts
        self.n_tokens += len(text.tokens)
        self.n_bytes += text.n_bytes
        self.digest = (self.digest + text.digest) % 2**256
        self._remember(text.id, text.provenance)
        np.add.at(self.token_counts, text.tokens, 1)
        self._tally(text.provenance.source, Tally(1, len(text.tokens)))

    def _remember(self, document: int, where: Provenance) -> None:
        # Copies of a document may differ in language or licence, which its name does not say.
        self.documents[document] = min(where, self.documents.get(document, where), key=astuple)

    def _tally(self, source: str, more: Tally) -> None:
        if self.sources is None:
            return
        held = self.sources.setdefault(source, Tally())
        held.n_documents += more.n_documents
        held.n_tokens += more.n_tokens
        if len(self.sources) > MAX_SOURCES:
            self.sources, self.source_rows = None, []

    def source_row(self, source: str) -> int:
        """The row of a source, a new one for a new source; -1 when there were too many."""
        if self.sources is None or (source not in self.source_rows and len(self.source_rows) == MAX_SOURCES):
            return -1
        if source not in self.source_rows:
            self.source_rows.append(source)
        return self.source_rows.index(source)

    def claim(self, names: Sequence[str], part: Part) -> None:
        """Note that a part of a corpus is in it.

        Raises:
            CacheError: it already is, or the corpus was cut into another number of parts.
        """
        which = f"part {part.k}/{part.n} of {', '.join(names)}"
        for cut in self.parts:
            others, n = json.loads(cut)
            if others != list(names) or n == part.n:
                continue
            if n == 1:
                raise CacheError(f"{which} is counted twice: the whole of it is there already")
            raise CacheError(f"{which} overlaps with its parts of {n}: merge parts of one number")
        cut = json.dumps([names, part.n])
        held = self.parts.setdefault(cut, [])
        if part.k in held:
            raise CacheError(f"{which} is counted twice")
        held.append(part.k)
        held.sort()
        if len(held) == part.n:  # however it was cut, the whole is the whole
            del self.parts[cut]
            self.parts[json.dumps([names, 1])] = [0]
        self.names |= set(names)

    def check_complete(self) -> None:
        """Raise CacheError where a part of a corpus is missing."""
        for corpus, held in self.parts.items():
            names, n = json.loads(corpus)
            missing = sorted(set(range(n)) - set(held))
            if missing:
                which = ", ".join(f"{k}/{n}" for k in missing)
                raise CacheError(
                    f"of {', '.join(names)} these parts are missing: {which}. Build them, then merge all"
                )

    def merge(self, other: "BuildState") -> None:
        """Take in the state of another part of the corpus.

        Raises:
            CacheError: it was made with other settings, or shares a part with this one.
        """
        if other.settings != self.settings:
            differing = self.settings.difference(other.settings)
            raise CacheError(f"these shards are not parts of one cache: {differing}")
        for corpus, held in other.parts.items():
            names, n = json.loads(corpus)
            for k in held:
                self.claim(names, Part(k, n))
        for name in ("n_documents", "n_contexts", "n_tokens", "n_bytes"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.digest = (self.digest + other.digest) % 2**256
        if other.sources is None:
            self.sources, self.source_rows = None, []
        for source, tally in (other.sources or {}).items():
            self._tally(source, tally)
        rows = np.array([self.source_row(source) for source in other.source_rows], dtype=np.int64)
        self.token_counts += other.token_counts
        for layer, hooks in self.layers.items():
            for mine_hook, theirs_hook in zip(hooks, other.layers[layer], strict=True):
                mine_hook.merge(theirs_hook, rows)
        self.sample.merge(other.sample)
        for document, where in other.documents.items():
            self._remember(document, where)
        self.forget()

    def kept_documents(self) -> set[int]:
        """Documents that something kept comes from."""
        found = self.sample.documents()
        for hooks in self.layers.values():
            for hook in hooks:
                for lists in (hook.ranges, hook.top, hook.bottom):
                    found.update(np.unique(lists.document[lists.length > 0]).tolist())
        return found

    def forget(self) -> None:
        """Drop the provenance of documents that nothing kept comes from."""
        keep = self.kept_documents()
        self.documents = {d: p for d, p in self.documents.items() if d in keep}

    def canonical(self) -> None:
        """Put everything in its one form."""
        self.forget()
        order = sorted(range(len(self.source_rows)), key=self.source_rows.__getitem__)
        rows = np.array(order, dtype=np.int64)
        for hooks in self.layers.values():
            for hook in hooks:
                hook.canonical()
                mass = np.zeros_like(hook.source_mass)
                mass[: len(rows)] = hook.source_mass[rows]
                hook.source_mass = mass
        self.source_rows.sort()

    def manifest(self) -> Manifest:
        """What a finished cache says of itself."""
        s = self.settings
        return Manifest(
            model=s.model,
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
    """All of them together, the first one changed.

    Raises:
        CacheError: there is none, or they do not fit together.
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
