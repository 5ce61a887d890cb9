"""Numbers and tokens as text for people."""

import math

_VISIBLE = str.maketrans({" ": "·", "\n": "↵", "\t": "⇥", "\r": "␍"})


def number(value: float, digits: int = 3) -> str:
    """A value to a few significant digits, in plain notation where that is short; a dash for NaN."""
    if math.isnan(value):
        return "–"
    if value == 0 or 1e-3 <= abs(value) < 1e6:
        return f"{value:,.{max(0, digits - 1 - _exponent(value))}f}"
    return f"{value:.{digits - 1}e}"


def share(value: float) -> str:
    """A share as a percentage, or where that is tiny as a number in a million."""
    if 0 < value < 1e-5:
        return f"{number(1e6 * value)} in a million"
    return "–" if math.isnan(value) else f"{number(100 * value)}%"


def _exponent(value: float) -> int:
    return 0 if value == 0 else math.floor(math.log10(abs(value)))


def visible(text: str) -> str:
    """Replace blanks by marks that can be seen."""
    return text.translate(_VISIBLE)
