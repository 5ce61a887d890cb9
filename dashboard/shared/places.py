"""What an address names: a model with its open cache, and a place in it. Imports no torch.

What is kept between runs is keyed by path and time of change, so a file replaced on disk is read again.
"""

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import streamlit as st

from cache.format.schema import MANIFEST, CacheError
from cache.reader import NeuronCache
from dashboard.shared import catalog, settings
from dashboard.shared.address import PANELS, SESSION_KEY, VIEWS, Address, Beside
from dashboard.shared.catalog import FoundModel, ModelError
from dashboard.shared.place import Place, Stamp, stamp_of
from solu_model.files import sha256_of


def models() -> list[FoundModel]:
    """The models that are there now."""
    return catalog.find_models(settings.model_roots())


def names_by_weights() -> dict[str, str]:
    """The names of the models that are here with their cache, by the SHA-256 of their weights."""
    found = {}
    for model in models():
        if model.has_cache:
            try:
                found[cache_of(model).manifest.model.sha256] = model.name
            except (ModelError, CacheError):
                continue
    return found


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
        neuron = featured_neuron(str(cache.path), stamp_of(cache.path / MANIFEST), layer, hook)
    else:
        neuron = address.neuron
    cache.neuron(layer, neuron)
    view, panel = address.view or VIEWS[0], address.panel or PANELS[0]
    place = Place(model, cache, layer, neuron, hook, view, panel, beside=address.beside)
    if place.view == "ranges":
        place = replace(place, range=address.range)
    if place.view not in place.views:
        raise CacheError(
            f"{cache.path} is of version {cache.manifest.version}, which holds the strongest examples alone: "
            "build the cache again to see ranges"
        )
    return place


def find_beside(place: Place) -> Place | None:
    """What stands beside a place: at the same hook and in the same view, as far as its cache has them.

    Raises:
        AddressError: it cannot be read.
        ModelError, CacheError: as in `find_place`.
    """
    if place.beside is None:
        return None
    asked = Beside.parse(place.beside)
    other = find_place(Address(asked.model, asked.layer, asked.neuron, hook=None))
    hook = place.hook if place.hook in other.cache.hooks else other.cache.hooks[-1]
    return replace(other, hook=hook, view=place.view if place.view in other.views else VIEWS[0])


def cache_of(model: FoundModel) -> NeuronCache:
    """A model's cache, once it is shown to belong to the checkpoint beside it.

    Raises:
        ModelError: it was built from another checkpoint.
        CacheError: it is missing, damaged, or of another version.
    """
    cache = open_cache(str(model.cache), stamp_of(model.cache / MANIFEST))
    if model.weights.is_file():
        found = _sha256(str(model.weights), stamp_of(model.weights))
        expected = cache.manifest.model.sha256
        if found != expected:
            raise ModelError(
                f"the cache {cache.path} was built from another checkpoint: its activations are those of a "
                f"{catalog.WEIGHTS} with SHA-256 {expected[:12]}…, the one beside it has {found[:12]}…. "
                "Put the right file back, or build the cache again"
            )
    return cache


@st.cache_resource(max_entries=8, show_spinner=False)
def open_cache(path: str, stamp: Stamp) -> NeuronCache:  # noqa: ARG001 part of the key
    """An open cache, shared by all sessions; `stamp` is that of its manifest."""
    return NeuronCache.open(path)


@st.cache_data(max_entries=64, show_spinner="Checking that the cache belongs to the checkpoint…")
def _sha256(path: str, stamp: Stamp) -> str:  # noqa: ARG001 part of the key
    return sha256_of(Path(path))


@st.cache_data(max_entries=64, show_spinner=False)
def featured_neuron(path: str, stamp: Stamp, layer: int, hook: str) -> int:
    """A neuron to begin with: the highest kurtosis in the stronger quarter of the layer."""
    table = open_cache(path, stamp).table(layer, hook)
    top = np.nan_to_num(table["max"].to_numpy().astype(np.float64), nan=-np.inf)
    kurtosis = np.nan_to_num(table["kurtosis"].to_numpy().astype(np.float64), nan=-np.inf)
    strong = top >= np.quantile(top, 0.75, method="lower")
    return int(np.argmax(np.where(strong, kurtosis, -np.inf)))


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
        roots = ", ".join(str(r) for r in settings.model_roots())
        raise ModelError(
            f"no model was found in {roots}: put a checkpoint folder there, or start with "
            "`solu dashboard --models FOLDER`"
        )
    if name is None:
        return min(found, key=_turn)
    for model in found:
        if model.name == name:
            return model
    names = ", ".join(m.name for m in found)
    raise ModelError(f"there is no model {name!r}: expected one of {names}")


def _turn(model: FoundModel) -> tuple[bool, bool]:
    """Of its place among those to open where none is named: with a cache, then with SoLU, first."""
    return not model.has_cache, not str(model.config.get("act_fn")).startswith("solu")
