"""What neurons do to the output, read off the weights and measured by taking a neuron away.

The first call loads the model, and torch with it. Legend: M d_mlp, V d_vocab.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import streamlit as st

from dashboard.shared.catalog import ModelError
from dashboard.shared.place import Place, Stamp
from dashboard.shared.running.running_model import Live, live_at, version_of


def of_neuron(place: Place, *, fold: bool = False) -> npt.NDArray[np.float32]:
    """The direct effect of a place's neuron on every logit, `[V]`; see `solu_model.logit_effects`.

    Args:
        fold: False: per unit of `hook_post`. True: per unit of the normalised `hook_mid`.

    Raises:
        ModelError: the model cannot be loaded, or has no such effects.
    """
    return _of_neuron(*version_of(place.model), place.layer, place.neuron, fold, live_at(place))


def of_token(place: Place, token: int, *, fold: bool = False) -> npt.NDArray[np.float32]:
    """The direct effect of every neuron of a place's layer on a token's logit, `[M]`; else as `of_neuron`."""
    return _of_token(*version_of(place.model), place.layer, token, fold, live_at(place))


@st.cache_resource(max_entries=128, show_spinner=False)
def _of_neuron(
    path: str, stamp: Stamp, layer: int, neuron: int, fold: bool, _live: Live
) -> npt.NDArray[np.float32]:
    from solu_model.logit_effects import direct_logit_effects

    with _effects_missing(path, stamp):
        return direct_logit_effects(_live.model, layer, neuron, fold=fold)[0].float().numpy()


@st.cache_resource(max_entries=128, show_spinner=False)
def _of_token(
    path: str, stamp: Stamp, layer: int, token: int, fold: bool, _live: Live
) -> npt.NDArray[np.float32]:
    from solu_model.logit_effects import direct_effects_on_token

    with _effects_missing(path, stamp):
        return direct_effects_on_token(_live.model, layer, token, fold=fold).float().numpy()


@contextmanager
def _effects_missing(path: str, stamp: Stamp) -> Iterator[None]:  # noqa: ARG001 part of its callers' keys
    """Say what is wrong with a model that lacks the weights to be read."""
    try:
        yield
    except TypeError as error:
        raise ModelError(f"the output of {path} cannot be read off its weights: {error}") from error
