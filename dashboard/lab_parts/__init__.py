"""The parts of the lab, one at a time: each a module with `draw(place, text)`, imported when opened."""

from importlib import import_module

from dashboard.services.places import Place

LABELS = {
    "fires": "Given that it fires, is it that?",
    "detects": "Given that, does it fire?",
    "counterexamples": "Counterexamples",
    "hand": "By hand",
    "where": "Where to look",
    "saved": "Saved",
}
"""By the name in an address and of the module, in the order of `dashboard.lab_parts.address.PARTS`."""


def draw_part(part: str, place: Place, text: str) -> None:
    """Draw a part.

    Args:
        part: of `LABELS`. text: a hypothesis that can be read, or empty.
    """
    import_module(f"dashboard.lab_parts.{part}").draw(place, text)
