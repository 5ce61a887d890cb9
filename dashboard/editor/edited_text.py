"""Text as a browser's text field holds it, and the tokens that an edit leaves. No Streamlit."""

import re
from collections.abc import Hashable, Sequence
from difflib import SequenceMatcher

MAX_TEXT = 200_000
"""Most UTF-16 code units that the editor holds. It cuts off the rest, with a message."""

_SURROGATE = re.compile("[\ud800-\udfff]")


def replace_surrogates(text: str) -> str:
    """Replace lone surrogates by U+FFFD, so that the text can be encoded; its UTF-16 length stays the same.

    A browser cuts text between UTF-16 code units, and can send half of a character.
    """
    return _SURROGATE.sub("\ufffd", text)


def as_typed(text: str) -> str:
    """Return text as a browser's text field holds it: each line ends with a line feed alone."""
    return replace_surrogates(text).replace("\r\n", "\n").replace("\r", "\n")


def align_tokens(original: Sequence[Hashable], edited: Sequence[Hashable]) -> list[int]:
    """Match the tokens of an edited text to those of the original.

    Returns:
        For each token of the edit its index in the original, -1 for a new one. The indices are ascending
        and occur once.
    """
    shorter = min(len(original), len(edited))
    # Most edits change a few tokens of a long text: the common beginning and end are matched first, since
    # SequenceMatcher is quadratic.
    before = 0
    while before < shorter and original[before] == edited[before]:
        before += 1
    after = 0
    while after < shorter - before and original[-1 - after] == edited[-1 - after]:
        after += 1
    old, new = original[before : len(original) - after], edited[before : len(edited) - after]
    middle = [-1] * len(new)
    for block in SequenceMatcher(None, old, new, autojunk=False).get_matching_blocks():
        for k in range(block.size):
            middle[block.b + k] = before + block.a + k
    return [*range(before), *middle, *range(len(original) - after, len(original))]
