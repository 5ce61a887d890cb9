"""Numbers and tokens as text for people. `dashboard/shared/components/dom.js` writes both the same way."""

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
    """Return a value to a few significant digits, in plain notation where that is short; a dash for NaN."""
    if math.isnan(value):
        return "–"
    if value == 0 or 1e-3 <= abs(value) < 1e6:
        # `or`: a negative zero is written as zero.
        return f"{value or 0.0:,.{max(0, digits - 1 - _exponent(value))}f}"
    return f"{value:.{digits - 1}e}"


def share(value: float) -> str:
    """Return a share as a percentage, or where it is tiny as a number in a million."""
    if 0 < value < 1e-5:
        return f"{number(1e6 * value)} in a million"
    return "–" if math.isnan(value) else f"{number(100 * value)}%"


def _exponent(value: float) -> int:
    return 0 if value == 0 else math.floor(math.log10(abs(value)))


def visible(text: str, *, spaces: bool = True) -> str:
    """Return text on one line, with marks and escapes (`\\u200b`) in place of characters that cannot be seen.

    Args:
        spaces: mark spaces too.
    """
    marked = text.translate(_MARKED if spaces else _MARKED_BUT_SPACES)
    return _ESCAPED.sub(lambda match: f"\\u{ord(match[0]):04x}", marked)
