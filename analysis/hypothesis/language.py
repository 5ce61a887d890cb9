"""The language of hypotheses about the tokens that a neuron fires on.

    /regex/            tokens that overlap a match; /regex/i ignores case
    before /regex/     the token just before a match
    after /regex/      the token just after a match
    token "a" " a"     exactly these tokens, escaped as in JSON
    first 16           the first 16 tokens of a context
    source "name"      every token of a document of that source or language
    not X   X and Y   X or Y   (X)   X within 5 of Y

`not` binds most closely, then `within`, `and`, `or`. Patterns are in RE2's syntax (`analysis.patterns`). A
match may begin or end inside a token, since the text is searched as bytes. Every part is a function from a
`Context` of T tokens to marks `[T]`; `str` of a part is its text in this language.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.patterns import compile_pattern

MAX_FORMS = 50
"""Largest number of parts of one hypothesis; more could exhaust the recursion of the parser."""
MAX_DISTANCE = 1000
"""Largest distance of `within`, in tokens."""

Marks = npt.NDArray[np.bool_]
"""`[T]`, true for each token that fits the hypothesis."""
Predicate = Callable[["Context"], Marks]
"""Function that marks the tokens of a context which fit: a hypothesis, or any function of your own."""


class HypothesisError(ValueError):
    """A hypothesis that cannot be read: what was expected, and its position."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(message)
        self.position = position
        """Index of the first character that cannot be read."""


@dataclass(frozen=True)
class Context:
    """A stretch of text as T tokens, with its origin."""

    token_bytes: Sequence[bytes]
    """`[T]`, UTF-8 when joined."""
    source: str = ""
    """Source of the document in the corpus; empty if unknown."""
    lang: str = ""
    """Language of the document; empty if unknown."""
    start: int = 0
    """Number of tokens of the model's context before this stretch, without the BOS."""

    @property
    def ends(self) -> npt.NDArray[np.int64]:
        """`[T]`, end of each token in bytes from the beginning of the stretch."""
        return np.cumsum([len(data) for data in self.token_bytes], dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Match:
    """Tokens that overlap a match of a regular expression, or the token before or after a match."""

    pattern: str
    ignore_case: bool = False
    place: str = ""
    """Empty for tokens that overlap a match; `before` or `after` for the token beside it."""

    def __call__(self, context: Context) -> Marks:
        """Mark the tokens that fit."""
        ends = context.ends
        marks = np.zeros(len(ends), dtype=bool)
        if not len(ends):
            return marks
        text = b"".join(context.token_bytes)
        matches = (m.span() for m in compile_pattern(self.pattern, self.ignore_case).finditer(text))
        # Empty matches, as of /a*/, overlap no token.
        spans = np.array([(start, end) for start, end in matches if start < end], np.int64).reshape(-1, 2)
        first = np.searchsorted(ends, spans[:, 0], side="right")
        last = np.searchsorted(ends, spans[:, 1] - 1, side="right")
        if self.place:
            beside = first - 1 if self.place == "before" else last + 1
            marks[beside[(beside >= 0) & (beside < len(marks))]] = True
            return marks
        # Count the matches that cover each token: +1 at its first token, -1 after its last, then a running
        # sum.
        steps = np.zeros(len(marks) + 1, dtype=np.int64)
        np.add.at(steps, first, 1)
        np.add.at(steps, last + 1, -1)
        return np.cumsum(steps[:-1]) > 0

    def __str__(self) -> str:
        pattern = self.pattern.replace("/", "\\/")
        return f"{self.place} /{pattern}/{'i' if self.ignore_case else ''}".strip()


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens whose bytes are exactly one of these texts."""

    texts: tuple[str, ...]

    def __call__(self, context: Context) -> Marks:
        """Mark the tokens that fit."""
        wanted = {text.encode() for text in self.texts}
        return np.array([data in wanted for data in context.token_bytes], dtype=bool)

    def __str__(self) -> str:
        return " ".join(["token", *(json.dumps(text, ensure_ascii=False) for text in self.texts)])


@dataclass(frozen=True, slots=True)
class Source:
    """All tokens of the documents of a source or in a language."""

    name: str

    def __call__(self, context: Context) -> Marks:
        """Mark all tokens, or none."""
        return np.full(len(context.token_bytes), self.name in (context.source, context.lang))

    def __str__(self) -> str:
        return f"source {json.dumps(self.name, ensure_ascii=False)}"


@dataclass(frozen=True, slots=True)
class First:
    """The first `n` tokens of a context, without the BOS."""

    n: int

    def __call__(self, context: Context) -> Marks:
        """Mark the tokens that fit."""
        return np.arange(context.start, context.start + len(context.token_bytes)) < self.n

    def __str__(self) -> str:
        return f"first {self.n}"


@dataclass(frozen=True, slots=True)
class Not:
    """Tokens that do not fit `part`."""

    part: "Hypothesis"

    def __call__(self, context: Context) -> Marks:
        """Mark the tokens that fit."""
        return ~self.part(context)

    def __str__(self) -> str:
        return f"not {_bracketed(self.part)}"


@dataclass(frozen=True, slots=True)
class Within:
    """Tokens that fit `part`, at most `distance` tokens from one that fits `other`."""

    part: "Hypothesis"
    distance: int
    other: "Hypothesis"

    def __call__(self, context: Context) -> Marks:
        """Mark the tokens that fit."""
        at = np.flatnonzero(self.other(context))
        marks = self.part(context)
        # As in `Match`: +1 where the neighbourhood of a token begins, -1 after it, then a running sum.
        steps = np.zeros(len(marks) + 1, dtype=np.int64)
        np.add.at(steps, np.maximum(at - self.distance, 0), 1)
        np.add.at(steps, np.minimum(at + self.distance + 1, len(marks)), -1)
        return np.asarray(marks & (np.cumsum(steps[:-1]) > 0))

    def __str__(self) -> str:
        return f"{_bracketed(self.part)} within {self.distance} of {_bracketed(self.other)}"


@dataclass(frozen=True, slots=True)
class And:
    """Tokens that fit both parts."""

    left: "Hypothesis"
    right: "Hypothesis"

    def __call__(self, context: Context) -> Marks:
        """Mark the tokens that fit."""
        return np.asarray(self.left(context) & self.right(context))

    def __str__(self) -> str:
        return f"{_bracketed(self.left, Or)} and {_bracketed(self.right, Or, And)}"


@dataclass(frozen=True, slots=True)
class Or:
    """Tokens that fit at least one of two parts."""

    left: "Hypothesis"
    right: "Hypothesis"

    def __call__(self, context: Context) -> Marks:
        """Mark the tokens that fit."""
        return np.asarray(self.left(context) | self.right(context))

    def __str__(self) -> str:
        return f"{self.left} or {_bracketed(self.right, Or)}"


Hypothesis = Match | Tokens | Source | First | Not | Within | And | Or


def _bracketed(part: Hypothesis, *kinds: type) -> str:
    """Return a part's text, in brackets if it is of these kinds (default: all that join two parts)."""
    compound = kinds or (Or, And, Within)
    return f"({part})" if isinstance(part, compound) else str(part)
