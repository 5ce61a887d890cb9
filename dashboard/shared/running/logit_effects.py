"""Direct logit effects of neurons, from the weights. The first call loads the model, and torch with it.

Legend: M d_mlp, V d_vocab.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import streamlit as st

from dashboard.shared.catalog import ModelError
from dashboard.shared.place import Place, Stamp
from dashboard.shared.running.running_model import RunningModel, checkpoint_version, running_model_at


def of_neuron(place: Place, *, fold: bool = False) -> npt.NDArray[np.float32]:
    """Return the direct effect of a place's neuron on every logit, `[V]`.

    `solu_model.logit_effects` has the formula.

    Args:
        fold: False: per unit of `hook_post`. True: per unit of the normalised `hook_mid`.

    Raises:
        ModelError: the model cannot be loaded, or its architecture has no direct effects.
    """
    version = checkpoint_version(place.model)
    return _of_neuron(*version, place.layer, place.neuron, fold, running_model_at(place))


def of_token(place: Place, token: int, *, fold: bool = False) -> npt.NDArray[np.float32]:
    """Return the direct effect of every neuron of a place's layer on one token's logit, `[M]`.

    Arguments and errors are those of `of_neuron`.
    """
    version = checkpoint_version(place.model)
    return _of_token(*version, place.layer, token, fold, running_model_at(place))


@st.cache_resource(max_entries=128, show_spinner=False)
def _of_neuron(
    path: str,
    stamp: Stamp,  # noqa: ARG001 part of the key
    layer: int,
    neuron: int,
    fold: bool,
    _running: RunningModel,
) -> npt.NDArray[np.float32]:
    from solu_model.logit_effects import direct_logit_effects

    with _missing_weights_as_model_error(path):
        return direct_logit_effects(_running.model, layer, neuron, fold=fold)[0].float().numpy()


@st.cache_resource(max_entries=128, show_spinner=False)
def _of_token(
    path: str,
    stamp: Stamp,  # noqa: ARG001 part of the key
    layer: int,
    token: int,
    fold: bool,
    _running: RunningModel,
) -> npt.NDArray[np.float32]:
    from solu_model.logit_effects import direct_effects_on_token

    with _missing_weights_as_model_error(path):
        return direct_effects_on_token(_running.model, layer, token, fold=fold).float().numpy()


@contextmanager
def _missing_weights_as_model_error(path: str) -> Iterator[None]:
    """Raise a `ModelError` for a model without the weights that direct effects need."""
    try:
        yield
    except TypeError as error:
        raise ModelError(f"{path} has no direct logit effects: {error}") from error
