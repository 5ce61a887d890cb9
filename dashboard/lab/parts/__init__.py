"""Parts of the lab, one at a time: each a module with `draw(place, text)`.

The text is a hypothesis that can be parsed, or empty.
"""

from dashboard.shared.parts import Part, Parts

PARTS: Parts = {
    "fires": Part("Given that it fires, is it that?", "dashboard.lab.parts.consistency"),
    "detects": Part("Given that, does it fire?", "dashboard.lab.parts.detection"),
    "counterexamples": Part("Counterexamples", "dashboard.lab.parts.counterexamples"),
    "hand": Part("By hand", "dashboard.lab.parts.judgements"),
    "where": Part("Where to look", "dashboard.lab.parts.rankings"),
    "saved": Part("Saved", "dashboard.lab.parts.saved"),
}
"""The names are those of `dashboard.shared.lab_address.PARTS`, which reads them in an address."""
