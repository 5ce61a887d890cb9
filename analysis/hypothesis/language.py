"""The language of hypotheses: which tokens of a text does a neuron fire on? Pure.

    /regex/            the tokens that a match touches; /regex/i ignores case
    before /regex/     the token just before a match
    after /regex/      the token just after it
    token "a" " a"     these tokens, escaped as in JSON
    first 16           the first 16 tokens of a context
    source "name"      every token of a document of that source or language
    not X   X and Y   X or Y   (X)   X within 5 of Y

`not` binds most closely, then `within`, `and`, `or`. Patterns are RE2's, whose time is linear in the text.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import re2

MAX_FORMS = 50
"""Forms that one hypothesis may hold."""
MAX_DISTANCE = 1000
"""Tokens that `within` may span."""

Marks = npt.NDArray[np.bool_]
Predicate = Callable[["Context"], Marks]
"""Says of each token of a context whether it fits: a tree of this module, or anything of one's own."""


class HypothesisError(ValueError):
    """A hypothesis that cannot be read: what was expected, and where."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(message)
        self.position = position
        """Index of the character where it goes wrong."""


@dataclass(frozen=True)
class Context:
    """A stretch of text as tokens, with where it comes from."""

    token_bytes: Sequence[bytes]
    """`[T]`."""
    source: str = ""
    lang: str = ""
    start: int = 0
    """Tokens of the context that stand before this stretch of it, the BOS not counted."""

    @property
    def ends(self) -> npt.NDArray[np.int64]:
        """`[T]` where each token ends, in bytes."""
        return np.cumsum([len(data) for data in self.token_bytes], dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Match:
    """Tokens that matches of a regular expression touch, or those beside them."""

    pattern: str
    ignore_case: bool = False
    place: str = ""
    """Empty, `before` or `after`."""

    def __call__(self, context: Context) -> Marks:
        """Which tokens fit."""
        ends = context.ends
        marks = np.zeros(len(ends), dtype=bool)
        if not len(ends):
            return marks
        text = b"".join(context.token_bytes)
        spans = [m.span() for m in compile_pattern(self.pattern, self.ignore_case).finditer(text)]
        found = np.array([span for span in spans if span[0] < span[1]], dtype=np.int64).reshape(-1, 2)
        first = np.searchsorted(ends, found[:, 0], side="right")
        last = np.searchsorted(ends, found[:, 1] - 1, side="right")
        if self.place:
            beside = first - 1 if self.place == "before" else last + 1
            marks[beside[(beside >= 0) & (beside < len(marks))]] = True
            return marks
        steps = np.zeros(len(marks) + 1, dtype=np.int64)
        np.add.at(steps, first, 1)
        np.add.at(steps, last + 1, -1)
        return np.cumsum(steps[:-1]) > 0

    def __str__(self) -> str:
        pattern = self.pattern.replace("/", "\\/")
        return f"{self.place} /{pattern}/{'i' if self.ignore_case else ''}".strip()


@dataclass(frozen=True, slots=True)
class Tokens:
    """A set of tokens, exactly."""

    texts: tuple[str, ...]

    def __call__(self, context: Context) -> Marks:
        """Which tokens fit."""
        wanted = {text.encode() for text in self.texts}
        return np.array([data in wanted for data in context.token_bytes], dtype=bool)

    def __str__(self) -> str:
        return " ".join(["token", *(json.dumps(text, ensure_ascii=False) for text in self.texts)])


@dataclass(frozen=True, slots=True)
class Source:
    """Everything of a source or in a language."""

    name: str

    def __call__(self, context: Context) -> Marks:
        """Which tokens fit: all or none."""
        return np.full(len(context.token_bytes), self.name in (context.source, context.lang))

    def __str__(self) -> str:
        return f"source {json.dumps(self.name, ensure_ascii=False)}"


@dataclass(frozen=True, slots=True)
class First:
    """The first tokens of a context, the BOS not counted."""

    n: int

    def __call__(self, context: Context) -> Marks:
        """Which tokens fit."""
        return np.arange(context.start, context.start + len(context.token_bytes)) < self.n

    def __str__(self) -> str:
        return f"first {self.n}"


@dataclass(frozen=True, slots=True)
class Not:
    """What does not fit."""

    part: "Hypothesis"

    def __call__(self, context: Context) -> Marks:
        """Which tokens fit."""
        return ~self.part(context)

    def __str__(self) -> str:
        return f"not {_bracketed(self.part)}"


@dataclass(frozen=True, slots=True)
class Within:
    """Where one thing is and another one near."""

    part: "Hypothesis"
    distance: int
    other: "Hypothesis"

    def __call__(self, context: Context) -> Marks:
        """Which tokens fit."""
        at = np.flatnonzero(self.other(context))
        marks = self.part(context)
        steps = np.zeros(len(marks) + 1, dtype=np.int64)
        np.add.at(steps, np.maximum(at - self.distance, 0), 1)
        np.add.at(steps, np.minimum(at + self.distance + 1, len(marks)), -1)
        return np.asarray(marks & (np.cumsum(steps[:-1]) > 0))

    def __str__(self) -> str:
        return f"{_bracketed(self.part)} within {self.distance} of {_bracketed(self.other)}"


@dataclass(frozen=True, slots=True)
class And:
    """What fits both."""

    left: "Hypothesis"
    right: "Hypothesis"

    def __call__(self, context: Context) -> Marks:
        """Which tokens fit."""
        return np.asarray(self.left(context) & self.right(context))

    def __str__(self) -> str:
        return f"{_bracketed(self.left, Or)} and {_bracketed(self.right, Or, And)}"


@dataclass(frozen=True, slots=True)
class Or:
    """What fits one of two."""

    left: "Hypothesis"
    right: "Hypothesis"

    def __call__(self, context: Context) -> Marks:
        """Which tokens fit."""
        return np.asarray(self.left(context) | self.right(context))

    def __str__(self) -> str:
        return f"{self.left} or {_bracketed(self.right, Or)}"


Hypothesis = Match | Tokens | Source | First | Not | Within | And | Or


def _bracketed(part: Hypothesis, *kinds: type) -> str:
    compound = kinds or (Or, And, Within)
    return f"({part})" if isinstance(part, compound) else str(part)


@lru_cache(maxsize=256)
def compile_pattern(pattern: str, ignore_case: bool) -> Any:
    """A regular expression over UTF-8.

    Raises:
        re2.error: it is none of RE2's kind, or too large.
    """
    options = re2.Options()
    options.log_errors = False
    options.max_mem = 8 << 20
    options.case_sensitive = not ignore_case
    return re2.compile(pattern.encode(), options)
