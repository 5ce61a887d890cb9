"""The parts of a neuron's page that are shown one at a time: each a module with `draw(place, facts)`.

A panel is imported when it is first opened: plotly, torch and the database come with those that need them.
"""

from importlib import import_module

from dashboard.services.neurons import NeuronFacts
from dashboard.services.places import Place

LABELS = {
    "numbers": "Numbers",
    "tokens": "Tokens",
    "output": "Output",
    "similar": "Similar",
    "notes": "Notes",
    "download": "Download",
    "about": "Provenance",
}
"""By the name in an address and of the module, in the order of `dashboard.state.PANELS`."""


def draw_panel(place: Place, facts: NeuronFacts) -> None:
    """Draw the panel that the address names."""
    import_module(f"dashboard.panels.{place.panel}").draw(place, facts)
