"""Hypotheses held against neurons, for the lab's pages. Imports no torch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import streamlit as st

from analysis.histogram_bars import Bars, bars_from_histogram
from analysis.hypothesis import Consistency, Context, consistency, mark_examples, parse
from analysis.hypothesis.consistency import consistency_from_contexts
from analysis.hypothesis.detection import Detection, detection
from analysis.hypothesis.language import Marks, Source, Tokens
from analysis.hypothesis.ranking import (
    POSITION_HYPOTHESES,
    SIMPLE_HYPOTHESES,
    Proposal,
    RankedNeuron,
    preceding_text_hypotheses,
    propose,
    rank,
    sort_by_precision,
)
from cache.reader import Example
from dashboard.lab.sample_activations import Sample
from dashboard.shared.components.token_view import Group, token_view_data
from dashboard.shared.neuron_examples import example_groups
from dashboard.shared.place import Place, Stamp
from dashboard.shared.places import open_cache

_SHOWN = 10
"""Counterexamples of each kind."""
_PART = 128
"""Neurons that are ranked before progress is told."""
_SILENT = 0.05
"""Part of its maximum below which a neuron is called silent."""


@dataclass(frozen=True)
class Preview:
    """A neuron's examples with the tokens that fit marked."""

    data: dict[str, Any]
    """Of the token view."""
    n_fit: int
    """Examples whose peak fits."""
    n_examples: int
    share: float
    """Of all the tokens of all the examples, those that fit."""


@dataclass(frozen=True)
class Counterexamples:
    """Both kinds, as data of the token view."""

    misfits: dict[str, Any]
    silent: dict[str, Any]
    n_fit: int
    """Tokens of the sample that fit."""
    n_silent: int
    """Of those, on how many the neuron is silent."""


def preview(place: Place, text: str, view: str) -> Preview:
    """A neuron's examples held against a hypothesis that can be read; empty for none."""
    cache = place.cache
    neuron = cache.neuron(place.layer, place.neuron)
    groups = example_groups(neuron, place.hook, view)
    examples = [example for group in groups for example in group.examples]
    marks = mark_examples(parse(text), examples, cache.vocabulary) if text else None
    data = token_view_data(
        groups, cache.vocabulary, cache.hooks, place.hook,
        f"{place.version} {place.layer} {place.neuron} {place.hook} {view} {text}",
        strongest=neuron.moments(place.hook).max, marks=marks,
    )  # fmt: skip
    fits = [bool(m[e.peak]) for m, e in zip(marks or [], examples, strict=False)]
    share = float(np.concatenate(marks).mean()) if marks else float("nan")
    return Preview(data, sum(fits), len(examples), share)


def bars(place: Place, hook: str) -> Bars:
    """A neuron's exact histogram over the whole corpus."""
    neuron = place.cache.neuron(place.layer, place.neuron)
    return bars_from_histogram(neuron.histogram(hook), neuron.moments(hook))


def examine(place: Place, text: str, sample: Sample | None = None) -> dict[str, Consistency]:
    """Given that it fires, is it that? By hook.

    Args:
        sample: one that is ready, in place of the cache's few examples of every range.
    """
    n_contexts = sample.n_contexts if sample else 0
    return _examine(*place.version, place.layer, place.neuron, text, n_contexts, place, sample)


@st.cache_resource(max_entries=128, show_spinner=False)
def _examine(
    path: str, stamp: Stamp, layer: int, neuron: int, text: str, n: int, _place: Place, _sample: Sample | None
) -> dict[str, Consistency]:  # fmt: skip
    cache = open_cache(path, stamp)
    found = {}
    for hook in cache.hooks:
        ranges = cache.neuron(layer, neuron).ranges(hook)
        if _sample is None:
            found[hook] = consistency(parse(text), ranges, cache.vocabulary)
        else:
            values = np.array(_sample.activations(hook)[neuron], dtype=np.float32)
            marks, contexts = sample_marks(_place, text, n), sample_contexts(_place, n)
            found[hook] = consistency_from_contexts(values, marks, contexts, ranges)
    return found


def detect(place: Place, text: str, sample: Sample) -> dict[str, Detection]:
    """Given that, does it fire? By hook."""
    return _detect(*place.version, place.layer, place.neuron, text, sample.n_contexts, place, sample)


@st.cache_resource(max_entries=32, show_spinner=False)
def _detect(
    path: str, stamp: Stamp, layer: int, neuron: int, text: str, n: int, _place: Place, _sample: Sample  # noqa: ARG001 parts of the key
) -> dict[str, Detection]:  # fmt: skip
    marks, contexts = sample_marks(_place, text, n), sample_contexts(_place, n)
    return {
        hook: detection(np.array(_sample.activations(hook)[neuron]), marks, contexts)
        for hook in _place.cache.hooks
    }


def ranked(
    place: Place, text: str, sample: Sample, progress: Callable[[float], object] = lambda _: None
) -> list[RankedNeuron]:
    """All neurons of the place's layer by how well they answer a hypothesis at its hook, the best first."""
    found: list[RankedNeuron] = []
    for first in range(0, place.cache.d_mlp, _PART):
        found += _ranked_part(
            *place.version, place.layer, place.hook, text, sample.n_contexts, first, place, sample
        )
        progress(min(1.0, (first + _PART) / place.cache.d_mlp))
    return sort_by_precision(found)


@st.cache_resource(max_entries=256, show_spinner=False)
def _ranked_part(
    path: str, stamp: Stamp, layer: int, hook: str, text: str, n: int, first: int,  # noqa: ARG001 parts of the key
    _place: Place, _sample: Sample,
) -> list[RankedNeuron]:  # fmt: skip
    rows = _sample.activations(hook)[first : first + _PART]
    return rank(rows, sample_marks(_place, text, n), first=first)


def proposed(place: Place, sample: Sample) -> list[Proposal]:
    """Simple hypotheses that the neuron answers best at the hook, scored on text that did not choose them."""
    return _proposed(*place.version, place.layer, place.neuron, place.hook, sample.n_contexts, place, sample)


@st.cache_resource(max_entries=64, show_spinner="Trying simple hypotheses…")
def _proposed(
    path: str, stamp: Stamp, layer: int, neuron: int, hook: str, n: int, _place: Place, _sample: Sample
) -> list[Proposal]:
    cache = open_cache(path, stamp)
    frequent = cache.neuron(layer, neuron).tokens(hook)
    texts = [cache.vocabulary.text(t.token) for t in frequent]
    origins = list(_contexts(path, stamp, n))
    names = {name for c in origins for name in (c.source, c.lang) if name}
    candidates = [*SIMPLE_HYPOTHESES.values(), *(str(Source(name)) for name in sorted(names))]
    candidates += [str(Tokens(tuple(texts[:k]))) for k in (1, 3, 10) if len(texts) >= k]
    values, contexts = np.array(_sample.activations(hook)[neuron]), sample_contexts(_place, n)
    every_token = [data for context in origins for data in context.token_bytes]
    candidates += [*POSITION_HYPOTHESES, *preceding_text_hypotheses(values, contexts, every_token)]
    marks = [(text, sample_marks(_place, text, n)) for text in dict.fromkeys(candidates)]
    return propose(values, marks, contexts)


def counterexamples(place: Place, text: str, sample: Sample) -> Counterexamples:
    """Strong firings that do not fit, and fits on which the neuron is silent, one a context."""
    marks = sample_marks(place, text, sample.n_contexts)
    values = np.array(sample.activations(place.hook)[place.neuron], dtype=np.float32)
    top = place.cache.neuron(place.layer, place.neuron).moments(place.hook).max
    misfits = np.flatnonzero(~marks & (values > _SILENT * top))
    misfits = misfits[np.argsort(-values[misfits], kind="stable")]
    silent = np.flatnonzero(marks & (values <= _SILENT * top))
    drawn = np.random.default_rng(0).permutation(silent)  # any of them, not those that a number favours
    return Counterexamples(
        misfits=_shown(place, text, sample, misfits, "misfits"),
        silent=_shown(place, text, sample, drawn, "silent"),
        n_fit=int(marks.sum()),
        n_silent=len(silent),
    )


def _shown(
    place: Place, text: str, sample: Sample, tokens: npt.NDArray[np.int64], kind: str
) -> dict[str, Any]:
    """Data of the token view for the first tokens, one a context, named as the editor names them."""
    contexts = sample_contexts(place, sample.n_contexts)
    _, first = np.unique(contexts[tokens], return_index=True)
    chosen = tokens[np.sort(first)[:_SHOWN]]
    rows = place.cache.sample()
    documents = place.cache.documents()
    starts = np.searchsorted(contexts, np.arange(sample.n_contexts))
    every_mark = sample_marks(place, text, sample.n_contexts)
    examples, marks, names = [], [], []
    for token in chosen:
        context = int(contexts[token])
        ids = rows["tokens"][context].values.to_numpy()
        here = slice(int(starts[context]), int(starts[context]) + len(ids))
        acts = {
            hook: np.array(sample.activations(hook)[place.neuron, here], dtype=np.float32)
            for hook in place.cache.hooks
        }
        peak, document = int(token) - here.start, rows["document"][context].as_py()
        start = rows["context_start"][context].as_py()
        examples.append(
            Example(
                float(acts[place.hook][peak]), ids, peak, acts, start + peak, start, document,
                documents[document],
            )
        )  # fmt: skip
        marks.append(every_mark[here])
        names.append(f"sample-{context}-{peak}")
    data = token_view_data(
        [Group("", examples)], place.cache.vocabulary, place.cache.hooks, place.hook,
        f"{place.version} {place.layer} {place.neuron} {place.hook} {text} {kind} {sample.n_contexts}",
        strongest=place.cache.neuron(place.layer, place.neuron).moments(place.hook).max, marks=marks,
    )  # fmt: skip
    rows_of_data = [row | {"name": name} for row, name in zip(data["examples"], names, strict=True)]
    return data | {"examples": rows_of_data}


def sample_marks(place: Place, text: str, n_contexts: int) -> Marks:
    """`[N]` which tokens of a sample fit a hypothesis that can be read."""
    return _sample_marks(*place.version, text, n_contexts)


@st.cache_resource(max_entries=64, show_spinner=False)
def _sample_marks(path: str, stamp: Stamp, text: str, n_contexts: int) -> Marks:
    predicate = parse(text)
    found = [predicate(context) for context in _contexts(path, stamp, n_contexts)]
    return np.concatenate(found) if found else np.zeros(0, dtype=bool)


def sample_contexts(place: Place, n_contexts: int) -> npt.NDArray[np.int64]:
    """`[N]` which context each token of a sample is of."""
    lengths = [len(c.token_bytes) for c in _contexts(*place.version, n_contexts)]
    return np.repeat(np.arange(n_contexts), lengths)


@st.cache_resource(max_entries=4, show_spinner=False)
def _contexts(path: str, stamp: Stamp, n_contexts: int) -> Sequence[Context]:
    """The contexts of a sample as hypotheses see them."""
    cache = open_cache(path, stamp)
    rows, documents = cache.sample().slice(0, n_contexts), cache.documents()
    found = []
    for tokens, document in zip(rows["tokens"], rows["document"].to_pylist(), strict=True):
        data = [cache.vocabulary.token_bytes[t] for t in tokens.values.to_numpy()]
        origin = documents.get(document)
        found.append(Context(data, origin.source or "", origin.lang or "") if origin else Context(data))
    return found
