"""Numbers, shares and tokens as text for people."""

import math

_VISIBLE = str.maketrans({" ": "·", "\n": "↵", "\t": "⇥", "\r": "␍"})


def number(value: float, digits: int = 3) -> str:
    """Format a value with a few significant digits; NaN becomes a dash.

    Plain notation from 0.001 up to a million, scientific notation elsewhere.
    """
    if math.isnan(value):
        return "–"
    if value == 0 or 1e-3 <= abs(value) < 1e6:
        return f"{value:,.{max(0, digits - 1 - _exponent(value))}f}"
    return f"{value:.{digits - 1}e}"


def share(value: float) -> str:
    """Format a share from 0 to 1 as a percentage, and a tiny one in parts per million; NaN becomes a dash."""
    # Densities of dead neurons are near 1e-7: as a percentage they would all read alike.
    if 0 < value < 1e-5:
        return f"{number(1e6 * value)} in a million"
    return "–" if math.isnan(value) else f"{number(100 * value)}%"


def _exponent(value: float) -> int:
    return 0 if value == 0 else math.floor(math.log10(abs(value)))


def visible(text: str) -> str:
    """Replace blanks, tabs and line breaks with visible marks."""
    return text.translate(_VISIBLE)
