"""Search for neurons: by token, text, pattern, label, or effect on a token.

Only the searches by a text and by an effect load the model.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import streamlit as st

from analysis.formatting import visible
from analysis.token_effects import find_tokens
from cache.format import schema
from dashboard.neurons.token_search import peaks_among, tokens_matching
from dashboard.shared.annotations import service as annotations
from dashboard.shared.list_address import Search
from dashboard.shared.parquet_sql import table_of
from dashboard.shared.place import Place, Stamp
from dashboard.shared.places import open_cache
from dashboard.shared.running import logit_effects as effects
from dashboard.shared.running.running_model import running_model_at

MATCHES = 10
"""Maximum number of tokens offered to choose from."""


@dataclass(frozen=True)
class SearchResult:
    """Neurons that match a search. Legend: T position, M d_mlp."""

    table: pa.Table
    """Columns `layer`, `neuron` and `match`, the score: higher is better."""
    heading: str
    """Name of the score, in a word or two."""
    explanation: str
    is_share: bool = False
    """True if the score is a share, shown in percent."""
    sign: int = 1
    """Factor of the score when shown: -1 if the lowest values are the best."""
    texts: Sequence[str] = ()
    """`[T]` tokens of the text of a search by text."""
    peaks: dict[int, npt.NDArray[np.int64]] | None = None
    """By layer, `[M]`: position in that text of each neuron's strongest activation."""


class SearchError(ValueError):
    """A search that cannot be made, with the reason."""


def matching_tokens(place: Place, text: str) -> list[int]:
    """Return the tokens that match a text, the best match first."""
    return _matching_tokens(*place.version, text)


@st.cache_data(max_entries=256, show_spinner=False)
def _matching_tokens(path: str, stamp: Stamp, text: str) -> list[int]:
    return find_tokens(open_cache(path, stamp).vocabulary, text, MATCHES)


def search(place: Place, layers: Sequence[int], search: Search) -> SearchResult | None:
    """Search some layers at the place's hook; None for an empty search.

    Raises:
        SearchError: no token matches the text, or the cache lacks what the search needs.
        PatternError: a regular expression cannot be parsed.
        ModelError: the model is needed and cannot be loaded.
        CacheError: the cache is damaged.
    """
    if not search.text:
        return None
    if search.by == "label":  # not cached: labels change all the time
        return _by_label(place, layers, search.text)
    return _search(*place.version, place.hook, tuple(layers), search, place)


@st.cache_resource(max_entries=16, show_spinner="Searching…")
def _search(
    path: str,  # noqa: ARG001 part of the key
    stamp: Stamp,  # noqa: ARG001 part of the key
    hook: str,  # noqa: ARG001 part of the key
    layers: tuple[int, ...],
    search: Search,
    _place: Place,
) -> SearchResult:
    place = _place
    if search.by == "text":
        return _by_text(place, layers, search.text)
    if search.by == "peaks":
        return _by_peaks(place, layers, search.text)
    token = _token(place, search)
    if search.by == "token":
        return _by_token(place, layers, token)
    return _by_effect(place, layers, token, 1 if search.by == "promotes" else -1)


def _token(place: Place, search: Search) -> int:
    offered = matching_tokens(place, search.text)
    if not offered:
        raise SearchError(f"no token of the vocabulary contains {search.text!r}: try a shorter part of it")
    return search.token if search.token in offered else offered[0]


def _by_token(place: Place, layers: Sequence[int], token: int) -> SearchResult:
    if not place.cache.manifest.by_token:
        raise SearchError("this cache holds no activations by token: build it again to search by them")
    tables = []
    for layer in layers:
        ranked = place.cache.neurons_for(token, layer, place.hook)
        neurons = np.array([neuron for neuron, _ in ranked], dtype=np.int64)
        means = np.array([mean for _, mean in ranked], dtype=np.float64)
        tables.append(_table(layer, neurons, means / _maxima(place, layer)[neurons]))
    return SearchResult(
        pa.concat_tables(tables),
        "mean on the token",
        f"Neurons of each layer whose mean activation on {_name(place, token)} is highest, as a share "
        "of their own maximum.",
        is_share=True,
    )


def _by_effect(place: Place, layers: Sequence[int], token: int, sign: int) -> SearchResult:
    tables = []
    for layer in layers:
        effect = effects.of_token(replace(place, layer=layer), token).astype(np.float64) * sign
        neurons = np.flatnonzero(effect > 0)
        tables.append(_table(layer, neurons, effect[neurons]))
    deeper = (
        "" if place.cache.manifest.model.n_layers == 1 else " The direct path alone, without later layers."
    )
    return SearchResult(
        pa.concat_tables(tables),
        "effect on the token",
        f"What a neuron adds to the logit of {_name(place, token)} for each unit of hook_post.{deeper}",
        sign=sign,
    )


def _by_peaks(place: Place, layers: Sequence[int], pattern: str) -> SearchResult:
    tokens = tokens_matching(pattern, place.cache.vocabulary)
    one = layers[0] if len(layers) == 1 else None
    return SearchResult(
        peaks_among(place.cache.path, tokens, place.hook, one),
        "share of peaks",
        f"The share of a neuron's 8 strongest examples that have their peak on one of the {len(tokens):,} "
        "tokens that match the expression.",
        is_share=True,
    )


def _by_label(place: Place, layers: Sequence[int], text: str) -> SearchResult:
    wanted, tables = text.casefold().strip(), []
    for layer in layers:
        labels = {n: a.content.label.casefold() for n, a in annotations.by_neuron(place.model, layer).items()}
        fits = {n: len(wanted) / len(label) for n, label in sorted(labels.items()) if wanted in label}
        tables.append(
            _table(layer, np.array(list(fits), np.int64), np.array(list(fits.values()), np.float64))
        )
    return SearchResult(
        pa.concat_tables(tables),
        "share of the label",
        "Neurons whose label contains the text, and the share of the label that the text makes up.",
        is_share=True,
    )


def _by_text(place: Place, layers: Sequence[int], text: str) -> SearchResult:
    live = running_model_at(place)
    tokens = live.encode(text)
    if not tokens:
        raise SearchError("the text has no token: type a longer one")
    tables, peaks = [], {}
    for layer in layers:
        activations = live.activations(tokens, layer, [place.hook])[place.hook]
        top = _maxima(place, layer)
        neurons = np.flatnonzero(top > 0)
        tables.append(_table(layer, neurons, activations.max(axis=0)[neurons] / top[neurons]))
        peaks[layer] = activations.argmax(axis=0)
    return SearchResult(
        pa.concat_tables(tables),
        "share of maximum",
        f"The strongest activation on the text's {len(tokens):,} token{'s' * (len(tokens) > 1)}, as a share "
        "of the neuron's maximum in the corpus, and the token with that activation.",
        is_share=True,
        texts=[place.cache.vocabulary.text(token) for token in tokens],
        peaks=peaks,
    )


def _name(place: Place, token: int) -> str:
    return f"‘{visible(place.cache.vocabulary.text(token))}’"


def _maxima(place: Place, layer: int) -> npt.NDArray[np.float64]:
    """Return the maximum of each neuron of a layer in the corpus, `[M]`; NaN where it is not above 0."""
    table = table_of(
        "SELECT neuron, max FROM read_parquet($file, hive_partitioning = false) "
        "WHERE layer = $layer AND hook = $hook",
        {"file": place.cache.path / schema.NEURONS, "layer": layer, "hook": place.hook},
    )
    maxima = np.full(place.cache.d_mlp, np.nan)
    stored = table["max"].to_numpy().astype(np.float64)
    maxima[table["neuron"].to_numpy()] = np.where(stored > 0, stored, np.nan)
    return maxima


def _table(layer: int, neurons: npt.NDArray[np.int64], match: npt.NDArray[np.float64]) -> pa.Table:
    return pa.table(
        {
            "layer": np.full(len(neurons), layer, np.int32),
            "neuron": neurons.astype(np.int32),
            "match": match,
        }
    )
