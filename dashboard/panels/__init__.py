"""The parts of a neuron's page that are shown one at a time: each a module with `draw(place, facts)`."""

from collections.abc import Callable

from dashboard.panels import about, notes, numbers, output, similar, tokens
from dashboard.services.neurons import NeuronFacts
from dashboard.services.places import Place

PANELS: dict[str, tuple[str, Callable[[Place, NeuronFacts], None]]] = {
    "numbers": ("Numbers", numbers.draw),
    "tokens": ("Tokens and sources", tokens.draw),
    "output": ("Output", output.draw),
    "similar": ("Similar", similar.draw),
    "notes": ("Notes", notes.draw),
    "about": ("Provenance", about.draw),
}
"""By the name in an address: the label and what draws it. In the order of `dashboard.state.PANELS`."""
