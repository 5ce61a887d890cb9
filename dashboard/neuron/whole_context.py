"""Show an example in the whole context that the model saw, with the activation on every token."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from cache.format.schema import CacheError
from cache.reader import Example
from dashboard.shared.catalog import ModelError
from dashboard.shared.components.token_view import Group, token_view_data
from dashboard.shared.example_name import ExampleName
from dashboard.shared.place import Place
from dashboard.shared.running.running_model import running_model_at


@dataclass(frozen=True)
class WholeContext:
    """A whole context, ready to be drawn."""

    data: dict[str, Any]
    """Data of the token view."""
    description: str
    """Origin of the text, and whether its values were computed or stored."""


def whole_context(place: Place, name: str) -> WholeContext:
    """Return an example of a place's neuron in its whole context.

    The model runs the context. If it cannot be loaded, only the values near the peak are known, from the
    cache.

    Args:
        name: the example's name, as in an address.

    Raises:
        AddressError: the name cannot be parsed.
        CacheError: there is no such example, or its context is not kept.
    """
    example = ExampleName.parse(name).of(place.cache.neuron(place.layer, place.neuron), place.hook)
    tokens = place.cache.context(example)
    if tokens is None:
        raise CacheError(
            "the cache keeps no whole context of this example: add whole contexts to the cache with "
            "`solu cache contexts`"
        )
    peak = example.position - example.context_start
    description = (
        f"Tokens {example.context_start:,} to {example.context_start + len(tokens) - 1:,} of "
        f"{example.document.origin}: all that the model saw."
    )
    try:
        of_layer = running_model_at(place).activations(tokens, place.layer, place.cache.hooks)
        activations = {hook: values[:, place.neuron] for hook, values in of_layer.items()}
        description += " The values were computed just now."
    except ModelError as error:
        activations = {hook: _stored(example, hook, len(tokens)) for hook in place.cache.hooks}
        description += f" Only the values near the peak are known, from the cache: {error}"
    whole = replace(example, tokens=tokens, peak=peak, activations=activations)
    data = token_view_data(
        [Group("", [whole])],
        place.cache.vocabulary,
        place.cache.hooks,
        place.hook,
        f"{place.version} {place.layer} {place.neuron} {place.hook} {name}",
        strongest=place.cache.neuron(place.layer, place.neuron).moments(place.hook).max,
        entire=True,
    )
    return WholeContext(data, description)


def _stored(example: Example, hook: str, length: int) -> npt.NDArray[np.float32]:
    """Return `[T]` values over the context: those of the example's window, NaN elsewhere."""
    values = np.full(length, np.nan, dtype=np.float32)
    first = example.position - example.peak - example.context_start
    values[first : first + len(example.tokens)] = example.activations[hook]
    return values
