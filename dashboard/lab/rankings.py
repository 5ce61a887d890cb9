"""Rankings on a sample: the neurons of a layer for a hypothesis, and simple hypotheses for a neuron."""

from collections.abc import Callable

import numpy as np
import streamlit as st

from analysis.hypothesis.language import Source, Tokens
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
from dashboard.lab.sample_activations import Sample
from dashboard.lab.sample_marks import context_indices, mark_sample, sample_contexts
from dashboard.shared.place import Place, Stamp
from dashboard.shared.places import open_cache

_BLOCK = 128
"""Neurons that are ranked between two calls of `progress`."""


def rank_neurons(
    place: Place, hypothesis: str, sample: Sample, progress: Callable[[float], object] = lambda _: None
) -> list[RankedNeuron]:
    """Rank the neurons of the place's layer by average precision for a valid hypothesis, the best first.

    Args:
        progress: called with the completed part, 0 to 1.
    """
    answers: list[RankedNeuron] = []
    for first in range(0, place.cache.d_mlp, _BLOCK):
        key = (*place.version, place.layer, place.hook, hypothesis, sample.n_contexts, first)
        answers += _rank_block(*key, place, sample)
        progress(min(1.0, (first + _BLOCK) / place.cache.d_mlp))
    return sort_by_precision(answers)


@st.cache_resource(max_entries=256, show_spinner=False)
def _rank_block(
    path: str,  # noqa: ARG001 part of the key
    stamp: Stamp,  # noqa: ARG001 part of the key
    layer: int,  # noqa: ARG001 part of the key
    hook: str,
    hypothesis: str,
    n_contexts: int,
    first: int,
    _place: Place,
    _sample: Sample,
) -> list[RankedNeuron]:
    acts_MN = _sample.activations(hook)[first : first + _BLOCK]
    return rank(acts_MN, mark_sample(_place, hypothesis, n_contexts), first=first)


def propose_hypotheses(place: Place, sample: Sample) -> list[Proposal]:
    """Rank simple hypotheses for the place's neuron and hook.

    They are chosen on one half of the sample and scored on the other half.
    """
    key = (*place.version, place.layer, place.neuron, place.hook, sample.n_contexts)
    return _propose_hypotheses(*key, place, sample)


@st.cache_resource(max_entries=64, show_spinner="Trying simple hypotheses…")
def _propose_hypotheses(
    path: str,
    stamp: Stamp,
    layer: int,
    neuron: int,
    hook: str,
    n_contexts: int,
    _place: Place,
    _sample: Sample,
) -> list[Proposal]:
    cache = open_cache(path, stamp)
    top_tokens = [cache.vocabulary.text(t.token) for t in cache.neuron(layer, neuron).tokens(hook)]
    contexts = list(sample_contexts(path, stamp, n_contexts))
    sources = sorted({name for c in contexts for name in (c.source, c.lang) if name})
    candidates = [*SIMPLE_HYPOTHESES.values(), *(str(Source(name)) for name in sources)]
    candidates += [str(Tokens(tuple(top_tokens[:k]))) for k in (1, 3, 10) if len(top_tokens) >= k]
    acts_N, indices = np.array(_sample.activations(hook)[neuron]), context_indices(_place, n_contexts)
    token_bytes = [data for context in contexts for data in context.token_bytes]
    candidates += [*POSITION_HYPOTHESES, *preceding_text_hypotheses(acts_N, indices, token_bytes)]
    marks = [(text, mark_sample(_place, text, n_contexts)) for text in dict.fromkeys(candidates)]
    return propose(acts_N, marks, indices)
