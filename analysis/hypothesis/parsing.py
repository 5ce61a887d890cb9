"""Parser of hypotheses, by recursive descent; every error has its position.

alternatives = conjunction { "or" conjunction }
conjunction  = near { "and" near }
near         = single { "within" number "of" single }
single       = "not" single | "(" alternatives ")" | token | source | first | pattern
"""

import json
import re
from typing import NoReturn

from analysis.hypothesis.language import (
    MAX_DISTANCE,
    MAX_FORMS,
    And,
    First,
    Hypothesis,
    HypothesisError,
    Match,
    Not,
    Or,
    Source,
    Tokens,
    Within,
)
from analysis.patterns import PatternError, compile_pattern

_FORM = '/regex/, before /regex/, after /regex/, token "…", source "…", first N, not, or ('
_BLANKS = re.compile(r"\s*")
_WORD = re.compile(r"[A-Za-z_]+")
_PATTERN = re.compile(r"/((?:[^/\\\[]|\\.|\[(?:[^\]\\]|\\.)*\])*)/(i?)", re.DOTALL)
# A slash inside [] does not end a pattern. An unclosed [ hides the closing slash from _PATTERN; this one
# finds it, so that RE2 can say what is wrong.
_BROKEN_PATTERN = re.compile(r"/((?:[^/\\]|\\.)*)/(i?)", re.DOTALL)
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_NUMBER = re.compile(r"[0-9]{1,6}")


def parse(text: str) -> Hypothesis:
    """Parse a hypothesis; parsing `str` of the result gives an equal one.

    Raises:
        HypothesisError: it cannot be read.
    """
    parser = _Parser(text)
    hypothesis = parser.alternatives()
    if parser.position < len(text):
        parser.fail("expected and, or, within, or the end")
    return hypothesis


class _Parser:
    """A text and the position up to which it was read. Every method leaves the position after blanks."""

    def __init__(self, text: str) -> None:
        self.text, self.position, self.n_forms = text, 0, 0
        self.skip()

    def skip(self) -> None:
        blanks = _BLANKS.match(self.text, self.position)
        self.position = blanks.end() if blanks else self.position

    def take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        match = pattern.match(self.text, self.position)
        if match:
            self.position = match.end()
            self.skip()
        return match

    def word(self, *expected: str) -> str:
        """Read the next word if it is one of these, in any case; else return an empty string."""
        match = _WORD.match(self.text, self.position)
        if not match or match[0].lower() not in expected:
            return ""
        self.position = match.end()
        self.skip()
        return match[0].lower()

    def fail(self, message: str, position: int | None = None) -> NoReturn:
        raise HypothesisError(message, self.position if position is None else position)

    def alternatives(self) -> Hypothesis:
        tree = self.conjunction()
        while self.word("or"):
            tree = Or(tree, self.conjunction())
        return tree

    def conjunction(self) -> Hypothesis:
        tree = self.near()
        while self.word("and"):
            tree = And(tree, self.near())
        return tree

    def near(self) -> Hypothesis:
        tree = self.single()
        while self.word("within"):
            at = self.position
            number = self.take(_NUMBER)
            if number is None or int(number[0]) > MAX_DISTANCE:
                self.fail(f"expected a number of tokens up to {MAX_DISTANCE}, as in within 5 of", at)
            if not self.word("of"):
                self.fail("expected of, as in within 5 of")
            tree = Within(tree, int(number[0]), self.single())
        return tree

    def single(self) -> Hypothesis:
        self.n_forms += 1
        if self.n_forms > MAX_FORMS:
            self.fail(f"expected at most {MAX_FORMS} parts")
        if self.text.startswith("(", self.position):
            return self.bracket()
        at = self.position
        word = self.word("not", "before", "after", "token", "source", "first")
        if word == "not":
            return Not(self.single())
        if word == "token":
            return Tokens(self.strings('a token in quotes, as in token " the"'))
        if word == "source":
            names = self.strings('a name in quotes, as in source "code_python"')
            if len(names) > 1:
                self.fail('expected one name; more are joined by or: source "a" or source "b"', at)
            return Source(names[0])
        if word == "first":
            number = self.take(_NUMBER)
            if number is None:
                self.fail("expected a number of tokens, as in first 16")
            return First(int(number[0]))
        if word or self.text.startswith("/", self.position):
            return self.match(word)
        rest = self.text[self.position : self.position + 20].strip()
        advice = f"to search for this text write /{rest}/" if rest else "found the end of the text"
        return self.fail(f"expected {_FORM}; {advice}")

    def bracket(self) -> Hypothesis:
        opened = self.position
        self.position += 1
        self.skip()
        tree = self.alternatives()
        if not self.text.startswith(")", self.position):
            self.fail(f"expected ) for the ( at character {opened + 1}")
        self.position += 1
        self.skip()
        return tree

    def match(self, place: str) -> Match:
        at = self.position
        if not self.text.startswith("/", at):
            self.fail(f"expected a pattern between slashes, as in {place} /x/")
        match = self.take(_PATTERN) or self.take(_BROKEN_PATTERN)
        if match is None:
            self.fail("expected a closing /; a / inside a pattern is written \\/", at)
        pattern = match[1].replace("\\/", "/")
        try:
            compile_pattern(pattern, bool(match[2]))
        except PatternError as error:
            self.fail(f"this regular expression cannot be used: {error}", at)
        if not pattern:
            self.fail("expected something between the slashes", at)
        return Match(pattern, bool(match[2]), place)

    def strings(self, expected: str) -> tuple[str, ...]:
        texts: list[str] = []
        while self.text.startswith('"', self.position):
            at = self.position
            match = self.take(_STRING)
            if match is None:
                self.fail('expected a closing "', at)
            try:
                text = json.loads(match[0], strict=False)
                text.encode()  # half of a surrogate pair is valid JSON and no text
            except ValueError as error:
                self.fail(f"expected text escaped as in JSON: {error}", at)
            texts.append(text)
        if not texts:
            self.fail(f"expected {expected}")
        return tuple(texts)
