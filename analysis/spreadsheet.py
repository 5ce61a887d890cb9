"""Text that a spreadsheet does not run as a formula: a leading apostrophe where a CSV cell looks like one.

See OWASP, CSV Injection: https://owasp.org/www-community/attacks/CSV_Injection
"""

import re

# The pattern includes leading apostrophes: a text that has some gets one more, so that unescaping is exact.
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)


def escape_formula(text: str) -> str:
    """Put an apostrophe before text that a spreadsheet would take for a formula; numbers stay as they are."""
    return "'" + text if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def unescape_formula(text: str) -> str:
    """Undo `escape_formula`."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text
