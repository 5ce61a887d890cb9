"""Keys of the neuron page: what each key does, and the targets of keys without a button."""

import streamlit as st

from dashboard.shared.address import PANELS, VIEWS
from dashboard.shared.keyboard import HELP, Keys, request_key_list
from dashboard.shared.place import Place

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


def follow_key(key: str, place: Place) -> None:
    """Do what a key without a button does: write the address, or open the list of keys."""
    if key == HELP:
        request_key_list()
        return
    if key == OTHER_HOOK:
        parameter = "hook"
        value = next((hook for hook in place.cache.hooks if hook != place.hook), place.hook)
    else:
        parameter, value = DIGITS[key]
    if parameter != "view" or value in place.views:
        st.query_params[parameter] = value
        st.query_params.pop("range", None)
