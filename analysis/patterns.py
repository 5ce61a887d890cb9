"""Regular expressions that people type: RE2's, which take time linear in the text whatever the pattern.

Python's `re` can take exponential time on a short pattern, which would stop the server for everybody. RE2 has
no look-around and no backreferences: https://github.com/google/re2/wiki/Syntax
"""

from functools import lru_cache
from typing import Any

import re2

_MAX_MEMORY = 8 << 20  # bytes; a pattern that needs more, as (a{1000}){1000}, is refused


class PatternError(ValueError):
    """A regular expression that RE2 refuses, with its reason."""


@lru_cache(maxsize=256)
def compile_pattern(pattern: str, ignore_case: bool = False) -> Any:
    """Compile a regular expression that searches UTF-8 bytes.

    Raises:
        PatternError: it is not in RE2's syntax, too large, or no valid Unicode.
    """
    options = re2.Options()
    options.log_errors = False  # RE2 would write every mistake of a person to stderr
    options.max_mem = _MAX_MEMORY
    options.case_sensitive = not ignore_case
    try:
        return re2.compile(pattern.encode(), options)
    except UnicodeEncodeError as error:
        raise PatternError(str(error)) from error
    except re2.error as error:  # its message is bytes, as the pattern
        reason = error.args[0] if error.args else ""
        text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise PatternError(text) from error


def literal_pattern(text: str) -> str:
    """Return a pattern that matches a text and nothing else, on one line.

    Slashes and blanks stay as they are, so that the pattern reads well in a hypothesis.
    """
    pattern: str = re2.escape(text).replace("\\/", "/").replace("\\ ", " ")
    return pattern.replace("\\\n", "\\n").replace("\\\t", "\\t").replace("\\\r", "\\r")
