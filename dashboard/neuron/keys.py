"""Keys of the neuron page: what each key does, and the targets of keys without a button."""

from dashboard.shared.address import PANELS, VIEWS
from dashboard.shared.keyboard import Keys

OTHER_HOOK = "h"
DIGITS = {str(number): ("view", name) for number, name in enumerate(VIEWS, start=1)} | {
    str((number + len(VIEWS)) % 10): ("panel", name) for number, name in enumerate(PANELS, start=1)
}
"""By digit, a parameter of the address and its value: first the examples, then the panels."""

KEYS: Keys = [
    ("← →", "previous and next neuron; within an example, its tokens"),
    ("j k", "next and previous example"),
    ("1 2 3", "strongest, sampled by range, weakest"),
    (f"4 to {list(DIGITS)[-1]}", "the panels beside the examples, from the left"),
    ("h", "before or after the LayerNorm"),
    ("x", "a random neuron"),
    ("l", "the list of neurons, as you left it"),
    ("b", "compare with another neuron"),
    ("t", "test a hypothesis in the lab"),
    ("Enter", "on a bar of a histogram: samples of its range"),
    ("Esc", "close what is open"),
    ("?", "this list"),
]
