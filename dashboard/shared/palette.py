"""Colours of all figures, and how each model looks in them.

Every colour is legible on light and dark pages. Colours that mean opposite things (the hooks; fits and does
not fit) are distinguishable with red-green colour blindness. The pages' own theme is in
`.streamlit/config.toml`.
"""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from dashboard.shared.catalog import ModelFolder

BLUE, RED, ORANGE, GREY = "#5b8fc0", "#c4605a", "#d98536", "#8b8e95"

HOOK_COLOURS = {"hook_mid": RED, "hook_post": BLUE}
FITS, DOES_NOT_FIT = "#4d86bd", ORANGE
"""Tokens that fit a hypothesis, and tokens that do not: as :blue[] and :orange[] in the captions."""
QUANTITY = BLUE
"""Bars, points and boxes of a quantity of neurons."""
SELECTED = RED
"""Points singled out among many."""
REFERENCE = GREY
"""Lines to compare with: zero, chance, thresholds, required power."""

INK, INK_ON_DARK = "#1f2023", "#e4e4e1"
"""Text and error bars on a light and on a dark page."""
FAINT_INK, SMALL_PRINT = "#5d5f66", "#555555"
"""Secondary marks and provenance in figures for a paper."""

_SOLU = (RED, "#a06a2c", "#8a6bb0")  # warm colours
_OTHER = (BLUE, "#6b8f3c", "#3c8f88")  # cool colours
_MISSING = ("#6d6f75", "#a4a7ae", "#4b4d52")  # greys
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x")
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")


class ModelStyle(NamedTuple):
    """A model's look in every figure."""

    colour: str
    symbol: str
    """Plotly's marker symbol; it tells models apart without colour."""
    dash: str
    """Plotly's line dash; likewise."""


def model_styles(models: Iterable[ModelFolder], missing: Iterable[str] = ()) -> dict[str, ModelStyle]:
    """Assign a style to each model, the same on every page.

    The style depends on the position among the models of its family in the order of names: SoLU models have
    warm colours, models with other activations cool ones. Up to 18 models of a family have different styles.
    The first three of a family differ in symbol and dash from the first three of the other.

    Args:
        models: all models that the server has, not only those of one figure.
        missing: names of other models, as of an old study's; those among `models` are ignored. They are grey.
    """
    families: dict[str, tuple[tuple[str, ...], int]] = {}
    for model in models:
        families[model.name] = (_SOLU, 0) if _is_solu(model) else (_OTHER, 3)
    families = dict.fromkeys(missing, (_MISSING, 0)) | families
    styles: dict[str, ModelStyle] = {}
    counts: Counter[tuple[str, ...]] = Counter()
    for name in sorted(families):
        colours, shift = families[name]
        index = counts[colours]
        counts[colours] += 1
        # Every third model has the same colour: its symbol moves by 3, and by 1 more after each round of 6,
        # so that no pair comes twice among 18.
        other = (shift + index + index // 6) % 6
        styles[name] = ModelStyle(colours[index % 3], _SYMBOLS[other], _DASHES[other])
    return styles


def with_opacity(colour: str, opacity: float) -> str:
    """Return `#rrggbb` as a CSS colour with an opacity from 0 to 1."""
    red, green, blue = (int(colour[k : k + 2], 16) for k in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


def _is_solu(model: ModelFolder) -> bool:
    return str(model.config.get("act_fn")).startswith(("solu", "exp"))
