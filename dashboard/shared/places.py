"""Find the place that an address names: its model, the open cache, layer, neuron and hook. No torch.

Cached values are keyed by path and stamp, so a file that is replaced on disk is read again.
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
from dashboard.shared.catalog import ModelError, ModelFolder
from dashboard.shared.place import Place, Stamp, stamp_of
from solu_model.loading.checkpoint_files import CheckpointError, hash_of_weights


def models() -> list[ModelFolder]:
    """Return the models in the model folders, as they are now."""
    return catalog.find_models(settings.model_roots())


def names_by_weights() -> dict[str, str]:
    """Return the names of the models that have a cache, by the SHA-256 of their weights."""
    names = {}
    for model in models():
        if model.has_cache:
            try:
                names[cache_of(model).manifest.model.sha256] = model.name
            except (ModelError, CacheError):
                continue  # the page of models says what is wrong with it
    return names


def find_place(address: Address) -> Place:
    """Return the place that an address names.

    A field that the address does not name gets a default: the first model with a cache, its first layer and
    hook, and that layer's featured neuron.

    Raises:
        ModelError: there is no such model, or none at all, or its cache belongs to another checkpoint.
        CacheError: the cache cannot be read, or holds no such layer, neuron or hook.
    """
    model = _find_model(address.model)
    cache = cache_of(model)
    layer = cache.layers[0] if address.layer is None else address.layer
    hook = cache.hooks[0] if address.hook is None else cache.checked_hook(address.hook)
    if address.neuron is None:
        cache.neuron(layer, 0)  # raises where there is no such layer
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
    """Return the second neuron of a place, at the same hook and in the same view if its cache has them.

    Raises:
        AddressError: the address of the second neuron cannot be parsed.
        ModelError, CacheError: as in `find_place`.
    """
    if place.beside is None:
        return None
    second = Beside.parse(place.beside)
    other = find_place(Address(second.model, second.layer, second.neuron, hook=None))
    hook = place.hook if place.hook in other.cache.hooks else other.cache.hooks[-1]
    return replace(other, hook=hook, view=place.view if place.view in other.views else VIEWS[0])


def cache_of(model: ModelFolder) -> NeuronCache:
    """Open a model's cache, after checking that it was built from the checkpoint beside it.

    Raises:
        ModelError: it was built from another checkpoint.
        CacheError: it is missing, damaged, or of another version.
    """
    cache = open_cache(str(model.cache), stamp_of(model.cache / MANIFEST))
    if model.weights:
        actual = _weights_hash(tuple(map(str, model.weights)), stamp_of(*model.weights))
        expected = cache.manifest.model.sha256
        if actual != expected:
            raise ModelError(
                f"the cache {cache.path} was built from another checkpoint: its activations are those of "
                f"weights with SHA-256 {expected[:12]}…, and the {_names(model)} beside it "
                f"{'has' if len(model.weights) == 1 else 'have'} {actual[:12]}…. Put the right file back, or "
                "build the cache again"
            )
    return cache


@st.cache_resource(max_entries=8, show_spinner=False)
def open_cache(path: str, stamp: Stamp) -> NeuronCache:  # noqa: ARG001 part of the key
    """Open a cache once for all sessions; `stamp` is that of its manifest."""
    return NeuronCache.open(path)


@st.cache_data(max_entries=64, show_spinner="Checking that the cache belongs to the checkpoint…")
def _weights_hash(files: tuple[str, ...], stamp: Stamp) -> str:  # noqa: ARG001 part of the key
    try:
        return hash_of_weights([Path(file) for file in files])
    except CheckpointError as error:
        raise ModelError(str(error)) from error


def _names(model: ModelFolder) -> str:
    return model.weights[0].name if len(model.weights) == 1 else f"{len(model.weights)} files of weights"


@st.cache_data(max_entries=64, show_spinner=False)
def featured_neuron(path: str, stamp: Stamp, layer: int, hook: str) -> int:
    """Return a neuron to begin with: the highest kurtosis among the strongest quarter of the layer."""
    table = open_cache(path, stamp).table(layer, hook)
    top = np.nan_to_num(table["max"].to_numpy().astype(np.float64), nan=-np.inf)
    kurtosis = np.nan_to_num(table["kurtosis"].to_numpy().astype(np.float64), nan=-np.inf)
    strong = top >= np.quantile(top, 0.75, method="lower")
    return int(np.argmax(np.where(strong, kurtosis, -np.inf)))


def random_neuron(place: Place) -> int:
    """Draw another neuron of the layer, each with the same probability."""
    others = place.cache.d_mlp - 1
    drawn = random.randrange(others) if others else 0
    return drawn + (drawn >= place.neuron) if others else place.neuron


def remember(address: Address) -> None:
    """Keep an address in the session, for links without an address."""
    st.session_state[SESSION_KEY] = address


def requested_address() -> Address:
    """Return the address of this run: the query, or the session's last place if the query is empty.

    Raises:
        AddressError: the query cannot be parsed.
    """
    address = Address.parse(st.query_params.to_dict())
    last = st.session_state.get(SESSION_KEY)
    return last if address.is_empty and isinstance(last, Address) else address


def _find_model(name: str | None) -> ModelFolder:
    available = models()
    if not available:
        roots = ", ".join(str(r) for r in settings.model_roots())
        raise ModelError(
            f"no model was found in {roots}: put a checkpoint folder there, or start with "
            "`solu dashboard --models FOLDER`"
        )
    if name is None:
        return min(available, key=_default_order)
    for model in available:
        if model.name == name:
            return model
    names = ", ".join(m.name for m in available)
    raise ModelError(f"there is no model {name!r}: expected one of {names}")


def _default_order(model: ModelFolder) -> tuple[bool, bool]:
    """Sort key for the model to open where none is named: first those with a cache, then those with SoLU."""
    return not model.has_cache, not str(model.config.get("act_fn")).startswith("solu")
