"""The keys of pages: what they do in words, and where those of no button lead. Pure."""

from dashboard.shared.address import PANELS, VIEWS

HELP = "?"
OTHER_HOOK = "h"
DIGITS = {str(number): ("view", name) for number, name in enumerate(VIEWS, start=1)} | {
    str((number + len(VIEWS)) % 10): ("panel", name) for number, name in enumerate(PANELS, start=1)
}
"""Parameter of the address and its value, by digit: first the examples, then the panels."""

NEURON_PAGE = [
    ("← →", "previous and next neuron; within an example, its tokens"),
    ("j k", "next and previous example"),
    ("1 2 3", "strongest, sampled by range, weakest"),
    (f"4 to {list(DIGITS)[-1]}", "the panels beside the examples, from the left"),
    ("h", "before or after the LayerNorm"),
    ("x", "a random neuron"),
    ("l", "the list of neurons, where you were"),
    ("b", "compare with another neuron"),
    ("t", "test an idea of what it means"),
    ("Enter", "on a bar of a histogram: samples of its range"),
    ("Esc", "close what is open"),
    ("?", "this list"),
]
"""Key and what it does."""

NEURON_LIST = [
    ("j k", "next and previous neuron"),
    ("↑ ↓", "the same, once a neuron has the focus"),
    ("Enter", "open the neuron; on a column's name, sort by it"),
    ("Esc", "close what is open"),
    ("?", "this list"),
]
"""The same for the list of neurons."""
