"""How each model looks in every figure of a page: a colour, and a symbol and a dash that tell without it."""

from collections.abc import Iterable
from typing import NamedTuple

_COLOURS = ("#c4605a", "#5b8fc0", "#a06a2c", "#6b8f3c", "#8a6bb0", "#6d6f75")  # on light and dark pages
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x")
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")


class Mark(NamedTuple):
    """Of one model."""

    colour: str
    symbol: str
    dash: str


def marks_of(names: Iterable[str]) -> dict[str, Mark]:
    """A mark for each name, in their order; from the seventh on, colours come again with other symbols."""
    n, marks = len(_COLOURS), {}
    for index, name in enumerate(names):
        other = (index + index // n) % n
        marks[name] = Mark(_COLOURS[index % n], _SYMBOLS[other], _DASHES[other])
    return marks
