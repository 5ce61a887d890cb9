"""Numbers, shares and tokens as text for people, as `dashboard/shared/components/dom.js` writes them too."""

import math
import re

MARKS = {" ": "·", "\n": "↵", "\t": "⇥", "\r": "␍"}
"""Blanks that occur in ordinary text, with the mark that stands for each."""

ESCAPED = (
    "\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f"  # controls
    "\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff"  # no width, or a change of the direction of writing
)
"""Other characters that cannot be seen, as the inside of a character class of a regular expression. A joiner
(U+200D) is not among them: emoji consist of it."""

_ESCAPED = re.compile(f"[{ESCAPED}]")
_MARKED = str.maketrans(MARKS)
_MARKED_BUT_SPACES = str.maketrans({c: mark for c, mark in MARKS.items() if c != " "})


def number(value: float, digits: int = 3) -> str:
    """Format a value with a few significant digits; NaN becomes a dash.

    Plain notation from 0.001 up to a million, scientific notation elsewhere.
    """
    if math.isnan(value):
        return "–"
    if value == 0 or 1e-3 <= abs(value) < 1e6:
        # `or`: a negative zero is written as zero.
        return f"{value or 0.0:,.{max(0, digits - 1 - _exponent(value))}f}"
    return f"{value:.{digits - 1}e}"


def share(value: float) -> str:
    """Format a share from 0 to 1 as a percentage, and a tiny one in parts per million; NaN becomes a dash."""
    # Densities of dead neurons are near 1e-7: as a percentage they would all read alike.
    if 0 < value < 1e-5:
        return f"{number(1e6 * value)} in a million"
    return "–" if math.isnan(value) else f"{number(100 * value)}%"


def _exponent(value: float) -> int:
    return 0 if value == 0 else math.floor(math.log10(abs(value)))


def shorten(text: str, length: int) -> str:
    """Return text of at most `length` characters; in place of a longer rest stands an ellipsis."""
    return text if len(text) <= length else text[: length - 1] + "…"


def visible(text: str, *, spaces: bool = True) -> str:
    """Return text on one line, with marks and escapes (`\\u200b`) in place of characters that cannot be seen.

    Args:
        spaces: mark spaces too.
    """
    marked = text.translate(_MARKED if spaces else _MARKED_BUT_SPACES)
    return _ESCAPED.sub(lambda match: f"\\u{ord(match[0]):04x}", marked)
