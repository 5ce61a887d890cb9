"""Hypotheses from text, by recursive descent; every error says where. Pure."""

import json
import re
from typing import NoReturn

import re2

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
    compile_pattern,
)

_FORM = '/regex/, before /regex/, after /regex/, token "…", source "…", first N, not, or ('
_BLANKS = re.compile(r"\s*")
_WORD = re.compile(r"[A-Za-z_]+")
_PATTERN = re.compile(r"/((?:[^/\\\[]|\\.|\[(?:[^\]\\]|\\.)*\])*)/(i?)", re.DOTALL)  # a / in [] ends nothing
_BROKEN_PATTERN = re.compile(r"/((?:[^/\\]|\\.)*)/(i?)", re.DOTALL)
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_NUMBER = re.compile(r"[0-9]{1,6}")


def parse(text: str) -> Hypothesis:
    """Read a hypothesis; `str` of what is returned reads the same.

    Raises:
        HypothesisError: it cannot be read.
    """
    reader = _Reader(text)
    found = reader.alternatives()
    if reader.position < len(text):
        reader.fail("expected and, or, within, or the end")
    return found


class _Reader:
    def __init__(self, text: str) -> None:
        self.text, self.position, self.n_forms = text, 0, 0
        self.skip()

    def skip(self) -> None:
        found = _BLANKS.match(self.text, self.position)
        self.position = found.end() if found else self.position

    def take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        found = pattern.match(self.text, self.position)
        if found:
            self.position = found.end()
            self.skip()
        return found

    def word(self, *expected: str) -> str:
        """The next word, if it is one of these; empty otherwise."""
        found = _WORD.match(self.text, self.position)
        if not found or found[0].lower() not in expected:
            return ""
        self.position = found.end()
        self.skip()
        return found[0].lower()

    def fail(self, message: str, position: int | None = None) -> NoReturn:
        raise HypothesisError(message, self.position if position is None else position)

    def alternatives(self) -> Hypothesis:
        found = self.conjunction()
        while self.word("or"):
            found = Or(found, self.conjunction())
        return found

    def conjunction(self) -> Hypothesis:
        found = self.near()
        while self.word("and"):
            found = And(found, self.near())
        return found

    def near(self) -> Hypothesis:
        found = self.single()
        while self.word("within"):
            at = self.position
            number = self.take(_NUMBER)
            if number is None or int(number[0]) > MAX_DISTANCE:
                self.fail(f"expected a number of tokens up to {MAX_DISTANCE}, as in within 5 of", at)
            if not self.word("of"):
                self.fail("expected of, as in within 5 of")
            found = Within(found, int(number[0]), self.single())
        return found

    def single(self) -> Hypothesis:
        self.n_forms += 1
        if self.n_forms > MAX_FORMS:
            self.fail(f"expected at most {MAX_FORMS} forms")
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
        found = f"to look for this text write /{rest}/" if rest else "found the end"
        return self.fail(f"expected {_FORM}; {found}")

    def bracket(self) -> Hypothesis:
        opened = self.position
        self.position += 1
        self.skip()
        found = self.alternatives()
        if not self.text.startswith(")", self.position):
            self.fail(f"expected ) for the ( at character {opened + 1}")
        self.position += 1
        self.skip()
        return found

    def match(self, place: str) -> Match:
        at = self.position
        if not self.text.startswith("/", at):
            self.fail(f"expected a pattern between slashes, as in {place} /x/")
        found = self.take(_PATTERN) or self.take(_BROKEN_PATTERN)
        if found is None:
            self.fail("expected a closing /; a / inside a pattern is written \\/", at)
        pattern = found[1].replace("\\/", "/")
        try:
            compile_pattern(pattern, bool(found[2]))
        except (re2.error, UnicodeEncodeError) as error:
            reason = error.args[0] if error.args else error
            said = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
            self.fail(f"this regular expression cannot be used: {said}", at)
        if not pattern:
            self.fail("expected something between the slashes", at)
        return Match(pattern, bool(found[2]), place)

    def strings(self, expected: str) -> tuple[str, ...]:
        found: list[str] = []
        while self.text.startswith('"', self.position):
            at = self.position
            taken = self.take(_STRING)
            if taken is None:
                self.fail('expected a closing "', at)
            try:
                text = json.loads(taken[0], strict=False)
                text.encode()
            except ValueError as error:
                self.fail(f"expected text escaped as in JSON: {error}", at)
            found.append(text)
        if not found:
            self.fail(f"expected {expected}")
        return tuple(found)
