"""Parts of the lab, one open at a time: each is a module with `draw(place, hypothesis)`.

The hypothesis is valid, or empty. The keys are in addresses, which `dashboard.shared.lab_address` reads.
"""

from dashboard.shared.parts import Part, Parts

PARTS: Parts = {
    "fires": Part("When it fires, does the text fit?", "dashboard.lab.parts.consistency"),
    "detects": Part("When the text fits, does it fire?", "dashboard.lab.parts.detection"),
    "counterexamples": Part("Counterexamples", "dashboard.lab.parts.counterexamples"),
    "hand": Part("Judge by hand", "dashboard.lab.parts.judgements"),
    "where": Part("Rankings", "dashboard.lab.parts.rankings"),
    "saved": Part("Saved", "dashboard.lab.parts.saved"),
}
