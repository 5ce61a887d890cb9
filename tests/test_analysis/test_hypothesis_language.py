"""Tokens that a hypothesis fits: by hand, and against definitions by sets and characters."""

import re
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.hypothesis import Context, Hypothesis, HypothesisError, parse
from analysis.hypothesis.language import And, First, Match, Not, Or, Source, Tokens, Within

TEXT = Context([b"The", b" left", " caf\u00e9".encode(), b"1", b"23", b",", b" x", b"\n"], "prose", "en")
PATTERNS = ["é", "a+", "é|日本", "[^a]b", "😀.", "b$", "^a", "(?:ab)+", "[é日]{2}", "a.*b", "a?"]

leaves = st.one_of(
    st.builds(Match, st.sampled_from(PATTERNS), st.booleans(), st.sampled_from(["", "before", "after"])),
    st.builds(Tokens, st.lists(st.sampled_from(["a", "b", "ab", "é"]), min_size=1, max_size=2).map(tuple)),
    st.builds(First, st.integers(0, 20)),
    st.builds(Source, st.sampled_from(["prose", "en", "code"])),
)
trees = st.recursive(
    leaves,
    lambda part: st.one_of(
        st.builds(Not, part),
        st.builds(And, part, part),
        st.builds(Or, part, part),
        st.builds(Within, part, st.integers(0, 6), part),
    ),
    max_leaves=6,
)


@st.composite
def contexts(draw: st.DrawFn) -> Context:
    """Text cut into tokens anywhere, also inside its characters."""
    data = draw(st.text("aAbB é日本😀\n", max_size=12)).encode()
    cuts = sorted(draw(st.sets(st.integers(1, len(data) - 1)))) if len(data) > 1 else []
    ends = [*cuts, len(data)] if data else []
    pieces = [data[low:high] for low, high in zip([0, *ends], ends, strict=False)]
    return Context(
        pieces,
        draw(st.sampled_from(["prose", "code", ""])),
        draw(st.sampled_from(["en", ""])),
        draw(st.integers(0, 15)),
    )


def fitting(tree: Hypothesis, context: Context) -> set[int]:
    """Tokens that fit, by sets, and by Python's expressions over characters."""
    data = context.token_bytes
    match tree:
        case Tokens(texts):
            return {k for k, token in enumerate(data) if token in [text.encode() for text in texts]}
        case Source(name):
            return set(range(len(data))) if name in (context.source, context.lang) else set()
        case First(n):
            return {k for k in range(len(data)) if context.start + k < n}
        case Not(part):
            return set(range(len(data))) - fitting(part, context)
        case And(left, right):
            return fitting(left, context) & fitting(right, context)
        case Or(left, right):
            return fitting(left, context) | fitting(right, context)
        case Within(part, distance, other):
            near = fitting(other, context)
            return {k for k in fitting(part, context) if any(abs(k - n) <= distance for n in near)}
        case Match(pattern, ignore_case, place):
            return matching(pattern.replace("$", r"\Z"), ignore_case, place, data)
    raise AssertionError(tree)


def matching(pattern: str, ignore_case: bool, place: str, data: list[bytes] | tuple[bytes, ...]) -> set[int]:
    """The same of a pattern: each byte knows its token, each character its bytes."""
    text = b"".join(data).decode()
    token_of = [k for k, token in enumerate(data) for _ in token]
    found = set()
    for match in re.finditer(pattern, text, re.IGNORECASE if ignore_case else 0):
        low, high = (len(text[:end].encode()) for end in match.span())
        if low < high:
            touched = token_of[low:high]
            found |= {"": set(touched), "before": {touched[0] - 1}, "after": {touched[-1] + 1}}[place]
    return found & set(range(len(data)))


@settings(deadline=None)
@given(trees, contexts())
def test_a_tree_fits_what_sets_of_tokens_say(tree: Hypothesis, context: Context) -> None:
    expected = fitting(tree, context)
    assert set(np.flatnonzero(tree(context)).tolist()) == expected
    assert set(np.flatnonzero(parse(str(tree))(context)).tolist()) == expected


@pytest.mark.parametrize(
    "pattern", ["(a+)+$", "(a|aa)+$", "(a*)*b", "([a-z]+)*[0-9]", "(.*)(.*)(.*)(.*)b", "(a?){60}a{60}b"]
)
def test_patterns_that_never_end_elsewhere_end_soon(pattern: str) -> None:
    """A backtracking engine takes longer than the universe has been for the shortest of these texts."""
    data = [b"aaaa"] * 1023
    start = time.perf_counter()
    for _ in range(5):
        assert not parse(f"/{pattern}/")(Context([*data, b"!"])).any()
    assert time.perf_counter() - start < 5


def test_a_pattern_too_large_for_the_engine_is_refused() -> None:
    with pytest.raises(HypothesisError, match="cannot be used"):
        parse("/((a{1,100}){1,100}){1,100}/")


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("/[0-9]+/", [3, 4]),
        ("/1/", [3]),
        ("/é1/", [2, 3]),  # it ends inside no token, and begins inside one
        ("before /,/", [4]),
        ("after /[0-9]+/", [5]),
        ("before /The/", []),
        ("after /\\n/", []),
        ("/LEFT/i", [1]),
        ("/LEFT/", []),
        ("/[/,]/", [5]),
        ('token " left" "23"', [1, 4]),
        ('token "left"', []),
        ('source "en" and /x/', [6]),
        ('source "prose"', list(range(8))),
        ('source "de"', []),
        ("not /./", [7]),
        ("/x/ or /1/ and /2/", [6]),
        ("(/x/ or /1/) and not /2/", [3, 6]),
        ("/[a-z]/ within 1 of /,/", [6]),
        ("/[a-z]/ within 0 of /,/", []),
        ("NOT /[a-z0-9]/", [5, 7]),
        ("/a*/", [2]),  # empty matches are none
        ("/(a+)+$/", []),
    ],
)
def test_tokens_that_fit(text: str, fits: list[int]) -> None:
    assert np.flatnonzero(parse(text)(TEXT)).tolist() == fits
    assert parse(text)(Context([])).shape == (0,)


@given(
    st.lists(st.sampled_from([b"a", b"ab", b"b1", b"11", b" ", b"\xc3", b"\xa9"]), max_size=20),
    st.sampled_from(["1+", "ab", "b ", "a|b", "a.*b"]),
    st.sampled_from(["", "before", "after"]),
)
def test_matches_are_those_of_pythons_own_expressions(data: list[bytes], pattern: str, place: str) -> None:
    text, starts = b"".join(data), np.cumsum([0, *map(len, data)])
    expected = set()
    for match in re.finditer(pattern.encode() if "." not in pattern else b"a[^\xa9\xc3]*b", text):
        touched = [k for k in range(len(data)) if starts[k] < match.end() and match.start() < starts[k + 1]]
        expected |= {"": set(touched), "before": {touched[0] - 1}, "after": {touched[-1] + 1}}[place]
    if "." in pattern:
        pattern = "a[\\x00-\\x7f]*b"
    found = parse(f"{place} /{pattern}/")(Context(data))
    assert set(np.flatnonzero(found).tolist()) == {k for k in expected if 0 <= k < len(data)}


def test_the_first_tokens_are_those_of_the_context() -> None:
    assert parse("first 2")(TEXT).tolist() == [True, True] + [False] * 6
    assert parse("first 0")(TEXT).sum() == 0
    later = replace(TEXT, start=3)  # a window that begins inside its context
    assert parse("first 5")(later).tolist() == [True, True] + [False] * 6
    with pytest.raises(HypothesisError, match="as in first 16"):
        parse("first")
