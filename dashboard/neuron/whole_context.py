"""An example in the whole context that the model saw, with what the neuron does on every token of it."""

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
    """A whole context, to be drawn."""

    data: dict[str, Any]
    """Of the token view."""
    said: str
    """Where it is from, and what its values are."""


def whole_context(place: Place, name: str) -> WholeContext:
    """An example of a place's neuron in its whole context. The model runs it; where it cannot, the values
    that the cache keeps near the peak are shown alone.

    Args:
        name: as an address has it.

    Raises:
        AddressError: it is no name. CacheError: there is no such example, or its context is not kept.
    """
    named = ExampleName.parse(name)
    example = named.of(place.cache.neuron(place.layer, place.neuron), place.hook)
    tokens = place.cache.context(example)
    if tokens is None:
        raise CacheError(
            "the cache keeps no whole context of this example: `solu cache contexts` puts them beside it"
        )
    peak = example.position - example.context_start
    said = (
        f"Tokens {example.context_start:,} to {example.context_start + len(tokens) - 1:,} of "
        f"{example.document.origin}: all that the model saw."
    )
    try:
        found = running_model_at(place).activations(tokens, place.layer, place.cache.hooks)
        activations = {hook: values[:, place.neuron] for hook, values in found.items()}
        said += " The model has just run it."
    except ModelError as error:
        activations = {hook: _stored(example, hook, len(tokens)) for hook in place.cache.hooks}
        said += f" Values are known near the peak alone, from the cache: {error}"
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
    return WholeContext(data, said)


def _stored(example: Example, hook: str, length: int) -> npt.NDArray[np.float32]:
    """The values of an example's window in its context, NaN elsewhere."""
    values = np.full(length, np.nan, dtype=np.float32)
    first = example.position - example.peak - example.context_start
    values[first : first + len(example.tokens)] = example.activations[hook]
    return values
