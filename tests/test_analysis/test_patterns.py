"""Regular expressions of people: reasons for a refusal, case, bytes, and texts taken literally."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.patterns import PatternError, compile_pattern, literal_pattern


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [("(", "missing"), ("(?=a)", "invalid"), ("(a{1000}){1000}", r"\w"), ("\ud800", "surrogate")],
)
def test_a_pattern_is_refused_with_its_reason(pattern: str, reason: str) -> None:
    with pytest.raises(PatternError, match=reason):
        compile_pattern(pattern)


def test_patterns_search_bytes_and_may_ignore_case() -> None:
    assert compile_pattern("É", True).search("é".encode()).span() == (0, 2)
    assert compile_pattern("É").search("é".encode()) is None


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=8))
def test_a_literal_pattern_matches_its_text_alone_and_is_one_line(text: str) -> None:
    pattern = literal_pattern(text)
    assert "\n" not in pattern
    assert compile_pattern(pattern).fullmatch(text.encode())
    assert not compile_pattern(pattern).fullmatch(text.encode() + b"x")
