"""Facts about a neuron for its page, read from the cache once. Imports no torch."""

import math
from dataclasses import dataclass
from typing import Any

import streamlit as st

from analysis.formatting import visible
from analysis.histogram_bars import Bars, bars_of
from cache.format.histogram import Histogram, Moments
from dashboard.shared.neuron_examples import examples_data
from dashboard.shared.place import Place, Stamp
from dashboard.shared.places import open_cache

QUANTILES = {"50%": 0.5, "99%": 0.99, "99.9%": 0.999, "99.99%": 0.9999}
"""Quantiles marked in a histogram, by label."""


@dataclass(frozen=True)
class NeuronFacts:
    """Everything that a neuron's page shows of the cache; by hook where it depends on one."""

    examples: dict[str, Any]
    """Data of the token view."""
    n_examples: int
    bars: dict[str, Bars]
    moments: dict[str, Moments]
    quantiles: dict[str, list[tuple[str, float]]]
    """Label and value of each of `QUANTILES`; empty if nothing was counted."""
    intervals: dict[str, list[float]]
    """Edges between the ranges that examples were sampled from, lowest first."""
    density: dict[str, float]
    """Share of tokens with an activation above a tenth of the maximum."""
    tokens: list[tuple[str, float, int]]
    """Tokens of the highest mean activation at the hook shown: text, mean and count."""
    sources: list[tuple[str, float]]
    """Sources of text, with their shares of the activation above 0 at the hook shown."""


def neuron_facts(place: Place) -> NeuronFacts:
    """Return the facts about a place's neuron.

    Raises:
        CacheError: the cache is damaged.
    """
    return _neuron_facts(*place.version, place.layer, place.neuron, place.hook, place.view, place.range)


@st.cache_resource(max_entries=512, show_spinner=False)
def _neuron_facts(
    path: str, stamp: Stamp, layer: int, index: int, hook: str, view: str, only: int | None
) -> NeuronFacts:
    cache = open_cache(path, stamp)
    neuron = cache.neuron(layer, index)
    moments = {name: neuron.moments(name) for name in cache.hooks}
    histograms = {name: neuron.histogram(name) for name in cache.hooks}
    examples = examples_data(path, stamp, layer, index, hook, view, only)
    return NeuronFacts(
        examples=examples,
        n_examples=len(examples["examples"]),
        bars={name: bars_of(h, moments[name]) for name, h in histograms.items()},
        moments=moments,
        quantiles={name: _quantiles(h) for name, h in histograms.items()},
        intervals={name: [r.high for r in neuron.ranges(name)[:-1]] for name in cache.hooks},
        density={name: _density(h, moments[name]) for name, h in histograms.items()},
        tokens=[(visible(cache.vocabulary.text(t.token)), t.mean, t.count) for t in neuron.tokens(hook)],
        sources=[(s.source, s.share) for s in neuron.sources(hook)],
    )


def _quantiles(histogram: Histogram) -> list[tuple[str, float]]:
    """Return the middles of the bins that hold the quantiles."""
    if not histogram.total:
        return []
    bins = [(label, histogram.quantile(q)) for label, q in QUANTILES.items()]
    return [(label, (low + high) / 2) for label, (low, high) in bins if math.isfinite(low + high)]


def _density(histogram: Histogram, moments: Moments) -> float:
    if not moments.max > 0 or not histogram.total:
        return math.nan
    return histogram.count_from(moments.max / 10)[0] / histogram.total
