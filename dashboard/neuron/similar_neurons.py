"""Find neurons similar to a neuron: in its layer, in other layers, in another model with the same tokenizer.

Similarity by the tokens of the peaks needs the cache alone; by weights or by activation, the loaded model.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
import streamlit as st

from analysis.similarity import PeakCounts, Scores, correlations, cosines, standardize, take_contexts
from cache.format.schema import CacheError
from dashboard.shared import places
from dashboard.shared.catalog import ModelError
from dashboard.shared.neuron_preview import peak_summary
from dashboard.shared.place import Place, Stamp
from dashboard.shared.places import open_cache
from dashboard.shared.running.running_model import checkpoint_version, running_model_at

Measure = Literal["tokens", "activation", "out", "in"]
"""Measure of similarity: the tokens of the peaks, activations, rows of W_out, columns of W_in."""

SAMPLE_TOKENS = 20_000
"""Number of tokens on which activations are compared."""
MOST_VALUES = 2**26
"""Maximum number of half-precision activations kept of a layer: a wider layer is compared on fewer tokens."""

Report = Callable[[float], None]
"""A callback that receives the share of the work done, 0 to 1."""


@dataclass
class _Held:
    """A layer's standardized activations, computed at the first request."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    values: npt.NDArray[np.float16] | None = None


def scores(place: Place, measure: Measure, other: Place, report: Report) -> Scores:
    """Return the similarity of a place's neuron to each neuron of another place's layer, `[M]`.

    Args:
        other: a layer of the same model; for `activation` also of a model with the same tokenizer.
        report: receives the progress of the model; only the first request for a layer takes time.

    Raises:
        ModelError: a model cannot be loaded, or its cache holds no sample.
    """
    if measure == "tokens":
        mine = _peak_counts(*place.version, place.layer, place.hook).neuron_counts(place.neuron)
        return _peak_counts(*other.version, other.layer, other.hook).overlaps(mine)
    if measure == "activation":
        n_tokens = compared_tokens(place, other)
        mine_T = activations(place, place, n_tokens, report)[:, place.neuron]
        return correlations(mine_T, activations(other, place, n_tokens, report))
    model = running_model_at(place).model
    directions = [
        model.output_weights(layer) if measure == "out" else model.input_weights(layer).T
        for layer in (place.layer, other.layer)
    ]
    return cosines(directions[0][place.neuron].float().numpy(), directions[1].float().numpy())


def compared_tokens(place: Place, other: Place) -> int:
    """Return the number of tokens on which two layers are compared, within `MOST_VALUES`."""
    widest = max(place.cache.d_mlp, other.cache.d_mlp)
    return min(SAMPLE_TOKENS, MOST_VALUES // widest)


def activations(place: Place, read: Place, n_tokens: int, report: Report) -> npt.NDArray[np.float16]:
    """Return a layer's standardized activations on the sample of contexts of another place's cache, `[T, M]`.

    The model runs once for each layer, hook and cache.

    Raises:
        ModelError: the model cannot be loaded, or the cache holds no sample.
    """
    held = _held(*checkpoint_version(place.model), *read.version, place.layer, place.hook, n_tokens)
    with held.lock:
        if held.values is None:
            contexts = take_contexts(read.cache.sample(), n_tokens)
            if not contexts:
                raise ModelError(
                    f"{read.cache.path} holds no sample of whole contexts: build the cache again to compare "
                    "activations"
                )
            live, rows = running_model_at(place), []
            for done, tokens in enumerate(contexts):
                report(done / len(contexts))
                rows.append(live.activations(tokens, place.layer, [place.hook])[place.hook])
            held.values = standardize(np.concatenate(rows))
        return held.values


def peaks_of(place: Place, neuron: int) -> str:
    """Return the tokens at a neuron's peaks, the most frequent first."""
    return _peak_summaries(*place.version, place.layer, place.hook)[neuron]


def comparable_models(place: Place) -> list[Place]:
    """Return a place in every other model whose cache uses the same tokenizer: its first layer."""
    comparable = []
    for model in places.models():
        if model.name == place.model.name or not model.has_cache:
            continue
        try:
            cache = places.cache_of(model)
        except (ModelError, CacheError):
            continue  # the models' page says what is wrong with it
        if cache.manifest.model.tokenizer == place.cache.manifest.model.tokenizer:
            hook = place.hook if place.hook in cache.hooks else cache.hooks[0]
            comparable.append(Place(model, cache, cache.layers[0], 0, hook, place.view, place.panel))
    return comparable


@st.cache_resource(max_entries=4, show_spinner=False)
def _held(
    model_path: str,  # noqa: ARG001 all of them are the key
    model_stamp: Stamp,  # noqa: ARG001
    read_path: str,  # noqa: ARG001
    read_stamp: Stamp,  # noqa: ARG001
    layer: int,  # noqa: ARG001
    hook: str,  # noqa: ARG001
    n_tokens: int,  # noqa: ARG001
) -> _Held:
    return _Held()


@st.cache_resource(max_entries=64, show_spinner=False)
def _peak_counts(path: str, stamp: Stamp, layer: int, hook: str) -> PeakCounts:
    return PeakCounts.from_column(open_cache(path, stamp).table(layer, hook)["peak_tokens"])


@st.cache_resource(max_entries=64, show_spinner=False)
def _peak_summaries(path: str, stamp: Stamp, layer: int, hook: str) -> list[str]:
    cache = open_cache(path, stamp)
    tokens = cache.table(layer, hook)["peak_tokens"].to_pylist()
    return [peak_summary(t, cache.vocabulary) for t in tokens]
