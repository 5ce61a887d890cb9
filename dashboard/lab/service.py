"""Tests of a hypothesis on one neuron, kept between runs of the page. Imports no torch.

Every hypothesis given here must be valid. Legend: N tokens of a sample.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import streamlit as st

from analysis.histogram_bars import Bars, bars_from_histogram
from analysis.hypothesis import Consistency, mark_examples, measure_consistency, parse
from analysis.hypothesis.consistency import consistency_from_contexts
from analysis.hypothesis.detection import Detection, measure_detection
from dashboard.lab.sample_activations import Sample
from dashboard.lab.sample_marks import context_indices, mark_sample
from dashboard.shared.components.token_view import token_view_data
from dashboard.shared.neuron_examples import example_groups
from dashboard.shared.place import Place, Stamp
from dashboard.shared.places import open_cache


@dataclass(frozen=True)
class MarkedExamples:
    """A neuron's examples, with the tokens that fit marked."""

    data: dict[str, Any]
    """Data of the token view."""
    n_fit: int
    """Examples whose peak fits."""
    n_examples: int
    share: float
    """Share of all tokens of the examples that fit; NaN without a hypothesis."""


def marked_examples(place: Place, hypothesis: str, view: str) -> MarkedExamples:
    """Mark the neuron's examples of a view; an empty hypothesis marks nothing."""
    cache = place.cache
    neuron = cache.neuron(place.layer, place.neuron)
    groups = example_groups(neuron, place.hook, view)
    examples = [example for group in groups for example in group.examples]
    marks = mark_examples(parse(hypothesis), examples, cache.vocabulary) if hypothesis else None
    data = token_view_data(
        groups, cache.vocabulary, cache.hooks, place.hook,
        f"{place.version} {place.layer} {place.neuron} {place.hook} {view} {hypothesis}",
        strongest=neuron.moments(place.hook).max, marks=marks,
    )  # fmt: skip
    fits = [bool(m[e.peak]) for m, e in zip(marks or [], examples, strict=False)]
    share = float(np.concatenate(marks).mean()) if marks else float("nan")
    return MarkedExamples(data, sum(fits), len(examples), share)


def histogram_bars(place: Place, hook: str) -> Bars:
    """Return the neuron's exact histogram over the whole corpus, as bars to draw."""
    neuron = place.cache.neuron(place.layer, place.neuron)
    return bars_from_histogram(neuron.histogram(hook), neuron.moments(hook))


def consistency_by_hook(
    place: Place, hypothesis: str, sample: Sample | None = None
) -> dict[str, Consistency]:
    """Compute, by hook, the share of tokens that fit at every level of activation.

    Args:
        sample: a ready one. None: the few examples of every range in the cache.
    """
    n_contexts = sample.n_contexts if sample else 0
    return _consistency(*place.version, place.layer, place.neuron, hypothesis, n_contexts, place, sample)


@st.cache_resource(max_entries=128, show_spinner=False)
def _consistency(
    path: str,
    stamp: Stamp,
    layer: int,
    neuron: int,
    hypothesis: str,
    n_contexts: int,
    _place: Place,
    _sample: Sample | None,
) -> dict[str, Consistency]:
    cache = open_cache(path, stamp)
    results = {}
    for hook in cache.hooks:
        ranges = cache.neuron(layer, neuron).ranges(hook)
        if _sample is None:
            results[hook] = measure_consistency(parse(hypothesis), ranges, cache.vocabulary)
        else:
            acts_N = np.array(_sample.activations(hook)[neuron], dtype=np.float32)
            marks, contexts = mark_sample(_place, hypothesis, n_contexts), context_indices(_place, n_contexts)
            results[hook] = consistency_from_contexts(acts_N, marks, contexts, ranges)
    return results


def detection_by_hook(place: Place, hypothesis: str, sample: Sample) -> dict[str, Detection]:
    """Compute, by hook, how well the neuron detects the tokens that fit."""
    key = (*place.version, place.layer, place.neuron, hypothesis, sample.n_contexts)
    return _detection(*key, place, sample)


@st.cache_resource(max_entries=32, show_spinner=False)
def _detection(
    path: str,  # noqa: ARG001 part of the key
    stamp: Stamp,  # noqa: ARG001 part of the key
    layer: int,  # noqa: ARG001 part of the key
    neuron: int,
    hypothesis: str,
    n_contexts: int,
    _place: Place,
    _sample: Sample,
) -> dict[str, Detection]:
    marks, contexts = mark_sample(_place, hypothesis, n_contexts), context_indices(_place, n_contexts)
    return {
        hook: measure_detection(np.array(_sample.activations(hook)[neuron]), marks, contexts)
        for hook in _place.cache.hooks
    }
