"""What pages ask for, kept between runs: every `st.cache_*` of the app is here. Imports no torch.

What is kept is keyed by path and time of change, so a file replaced on disk is read again.
"""

import math
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from cache.histogram import Histogram, Moments
from cache.reader import Neuron, NeuronCache
from cache.schema import MANIFEST, CacheError
from dashboard import catalog
from dashboard.catalog import FoundModel, ModelError
from dashboard.charts import Bars, bars_of
from dashboard.components.token_view import Group, token_view_data
from dashboard.messages import number, share
from dashboard.neuron_table import neuron_frame, visible
from dashboard.settings import model_roots
from dashboard.state import SESSION_KEY, VIEWS, Address
from solu_model.files import sha256_of


@dataclass(frozen=True)
class Place:
    """An address that names something: a model with its cache, a layer, a neuron, a hook and a view."""

    model: FoundModel
    cache: NeuronCache
    layer: int
    neuron: int
    hook: str
    view: str

    @property
    def address(self) -> Address:
        """The address that leads here."""
        return Address(self.model.name, self.layer, self.neuron, self.hook, self.view)

    @property
    def views(self) -> list[str]:
        """The views that the cache holds examples for: the strongest alone in version 1."""
        return list(VIEWS) if self.cache.manifest.version >= 2 else ["top"]


@dataclass(frozen=True)
class NeuronFacts:
    """What a neuron's page shows, by hook where it depends on one."""

    examples: dict[str, Any]
    """Data of the token view."""
    n_examples: int
    bars: dict[str, Bars]
    moments: dict[str, Moments]
    density: dict[str, float]
    """Share of tokens above a tenth of the maximum."""
    tokens: list[tuple[str, float, int]]
    """Tokens of highest mean activation at the hook shown: text, mean and how often it came."""
    sources: list[tuple[str, float]]
    """Sources of its activation above 0 at the hook shown, with their shares."""


def models() -> list[FoundModel]:
    """The models that are there now."""
    return catalog.find_models(model_roots())


def find_place(address: Address) -> Place:
    """What an address names; what it does not say is the first model with a cache, its first layer, hook
    and that layer's featured neuron.

    Raises:
        ModelError: no such model, or none at all, or its cache belongs to another checkpoint.
        CacheError: the cache cannot be read, or holds no such layer, neuron or hook.
    """
    model = _find_model(address.model)
    cache = cache_of(model)
    layer = cache.layers[0] if address.layer is None else address.layer
    hook = cache.hooks[0] if address.hook is None else cache.checked_hook(address.hook)
    if address.neuron is None:
        cache.neuron(layer, 0)  # says what is wrong with the layer
        neuron = featured_neuron(str(cache.path), _stamp(cache.path / MANIFEST), layer, hook)
    else:
        neuron = address.neuron
    cache.neuron(layer, neuron)
    place = Place(model, cache, layer, neuron, hook, address.view or "top")
    if place.view not in place.views:
        raise CacheError(
            f"{cache.path} is of version {cache.manifest.version}, which holds the strongest examples alone: "
            "build the cache again to see ranges"
        )
    return place


def cache_of(model: FoundModel) -> NeuronCache:
    """A model's cache, once it is shown to belong to the checkpoint beside it.

    Raises:
        ModelError: it was built from another checkpoint.
        CacheError: it is missing, damaged, or of another version.
    """
    cache = open_cache(str(model.cache), _stamp(model.cache / MANIFEST))
    if model.weights.is_file():
        found = _sha256(str(model.weights), _stamp(model.weights))
        expected = cache.manifest.model.sha256
        if found != expected:
            raise ModelError(
                f"the cache {cache.path} was built from another checkpoint: its activations are those of a "
                f"{catalog.WEIGHTS} with SHA-256 {expected[:12]}…, the one beside it has {found[:12]}…. "
                "Put the right file back, or build the cache again"
            )
    return cache


@st.cache_resource(max_entries=8, show_spinner=False)
def open_cache(path: str, stamp: tuple[int, int]) -> NeuronCache:  # noqa: ARG001 part of the key
    """An open cache, shared by all sessions; `stamp` is that of its manifest."""
    return NeuronCache.open(path)


@st.cache_data(max_entries=64, show_spinner="Checking that the cache belongs to the checkpoint…")
def _sha256(path: str, stamp: tuple[int, int]) -> str:  # noqa: ARG001 part of the key
    return sha256_of(Path(path))


@st.cache_data(max_entries=64, show_spinner=False)
def featured_neuron(path: str, stamp: tuple[int, int], layer: int, hook: str) -> int:
    """A neuron to begin with: the highest kurtosis in the stronger quarter of the layer."""
    table = open_cache(path, stamp).table(layer, hook)
    top = np.nan_to_num(table["max"].to_numpy().astype(np.float64), nan=-np.inf)
    kurtosis = np.nan_to_num(table["kurtosis"].to_numpy().astype(np.float64), nan=-np.inf)
    strong = top >= np.quantile(top, 0.75, method="lower")
    return int(np.argmax(np.where(strong, kurtosis, -np.inf)))


def layer_frame(place: Place) -> pd.DataFrame:
    """A layer's neurons as the table that the page shows."""
    return _layer_frame(str(place.cache.path), _stamp(place.cache.path / MANIFEST), place.layer, place.hook)


@st.cache_resource(max_entries=16, show_spinner="Reading the layer…")
def _layer_frame(path: str, stamp: tuple[int, int], layer: int, hook: str) -> pd.DataFrame:
    cache = open_cache(path, stamp)
    return neuron_frame(cache.table(layer, hook, histograms=True), cache.vocabulary)


def neuron_facts(place: Place) -> NeuronFacts:
    """What a neuron's page shows.

    Raises:
        CacheError: the cache is damaged.
    """
    stamp = _stamp(place.cache.path / MANIFEST)
    return _neuron_facts(str(place.cache.path), stamp, place.layer, place.neuron, place.hook, place.view)


@st.cache_resource(max_entries=512, show_spinner=False)
def _neuron_facts(
    path: str, stamp: tuple[int, int], layer: int, index: int, hook: str, view: str
) -> NeuronFacts:
    cache = open_cache(path, stamp)
    neuron = cache.neuron(layer, index)
    moments = {name: neuron.moments(name) for name in cache.hooks}
    histograms = {name: neuron.histogram(name) for name in cache.hooks}
    groups = _groups(neuron, hook, view, moments[hook])
    return NeuronFacts(
        examples=token_view_data(
            groups,
            cache.vocabulary,
            cache.hooks,
            hook,
            f"{path} {stamp} {layer} {index} {hook} {view}",
            strongest=moments[hook].max,
        ),
        n_examples=sum(len(group.examples) for group in groups),
        bars={name: bars_of(h, moments[name]) for name, h in histograms.items()},
        moments=moments,
        density={name: _density(h, moments[name]) for name, h in histograms.items()},
        tokens=[(visible(cache.vocabulary.text(t.token)), t.mean, t.count) for t in neuron.tokens(hook)],
        sources=[(s.source, s.share) for s in neuron.sources(hook)],
    )


def _groups(neuron: Neuron, hook: str, view: str, moments: Moments) -> list[Group]:
    """A neuron's examples as a view shows them: one list, or one for each range, the highest first."""
    if view == "top":
        return [Group("", neuron.top(hook))]
    if view == "bottom":
        return [Group("", neuron.bottom(hook))]
    return [
        Group(
            "0 and below" if found.high <= 0 else f"{number(found.low)} to {number(found.high)}",
            found.examples,
            f"{found.count:,} tokens, {share(found.count / max(moments.count, 1))}",
        )
        for found in reversed(neuron.ranges(hook))
    ]


def _density(histogram: Histogram, moments: Moments) -> float:
    if not moments.max > 0 or not histogram.total:
        return math.nan
    return histogram.count_from(moments.max / 10)[0] / histogram.total


def loss_curve(model: FoundModel) -> pd.DataFrame | None:
    """Tokens and loss in nats a token while the model was trained; None where there is no readable curve."""
    return _loss_curve(str(model.curve), _stamp(model.curve))


@st.cache_data(max_entries=64, show_spinner=False)
def _loss_curve(path: str, stamp: tuple[int, int]) -> pd.DataFrame | None:  # noqa: ARG001 part of the key
    try:
        frame = pd.read_parquet(path, columns=["tokens", "loss"])
    except (OSError, ValueError):  # missing, damaged (Arrow's errors are ValueErrors), or without a column
        return None
    return frame if len(frame) else None


def random_neuron(place: Place) -> int:
    """Another neuron of the layer, each equally likely."""
    others = place.cache.d_mlp - 1
    drawn = random.randrange(others) if others else 0
    return drawn + (drawn >= place.neuron) if others else place.neuron


def remember(address: Address) -> None:
    """Keep an address for links that carry none."""
    st.session_state[SESSION_KEY] = address


def asked_address() -> Address:
    """The address of this run: the query, or the last place of this session where the query is empty.

    Raises:
        AddressError: the query cannot be read.
    """
    address = Address.parse(st.query_params.to_dict())
    last = st.session_state.get(SESSION_KEY)
    return last if address.is_empty and isinstance(last, Address) else address


def _find_model(name: str | None) -> FoundModel:
    found = models()
    if not found:
        roots = ", ".join(str(r) for r in model_roots())
        raise ModelError(
            f"no model was found in {roots}: put a checkpoint folder there, or start with "
            "`solu dashboard --models FOLDER`"
        )
    if name is None:
        return next((m for m in found if m.has_cache), found[0])
    for model in found:
        if model.name == name:
            return model
    names = ", ".join(m.name for m in found)
    raise ModelError(f"there is no model {name!r}: expected one of {names}")


def _stamp(file: Path) -> tuple[int, int]:
    """Time of change and size: what says that a file is still the one that was read."""
    try:
        status = file.stat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size


__all__ = [
    "CacheError",
    "ModelError",
    "NeuronFacts",
    "Place",
    "asked_address",
    "cache_of",
    "find_place",
    "layer_frame",
    "loss_curve",
    "models",
    "neuron_facts",
    "random_neuron",
    "remember",
]
