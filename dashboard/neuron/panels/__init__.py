"""Panels beside a neuron's examples, one at a time: each a module with `draw(place, facts)`."""

from dashboard.shared.parts import Part, Parts

PANELS: Parts = {
    "numbers": Part("Numbers", "dashboard.neuron.panels.numbers"),
    "tokens": Part("Tokens", "dashboard.neuron.panels.tokens"),
    "output": Part("Output", "dashboard.neuron.panels.output"),
    "similar": Part("Similar", "dashboard.neuron.panels.similar"),
    "notes": Part("Notes", "dashboard.neuron.panels.notes"),
    "download": Part("Download", "dashboard.neuron.panels.download"),
    "about": Part("Provenance", "dashboard.neuron.panels.provenance"),
}
"""The names are those of `dashboard.shared.address.PANELS`, which reads them in an address."""
