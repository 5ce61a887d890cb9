"""Files of hypotheses: they read back without loss, and a broken one names its first error."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.lab.hypothesis_files import from_json, to_json
from dashboard.shared.annotations.content import AnnotationError, Key
from dashboard.shared.annotations.hypotheses import Hypothesis

KEY = Key("ab" * 32, 0, 7)


@given(name=st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=80),
       text=st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=200))  # fmt: skip
def test_files_give_back_what_they_were_given(name: str, text: str) -> None:
    kept = Hypothesis(KEY, "tiny", "ada", name, text, datetime(2026, 1, 2, 3, 4, 5, 6, UTC))
    assert from_json(to_json([kept, kept]).encode()) == [kept, kept]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.replace("solu-explorer", "other"), "expected {"),
        (lambda t: t.replace('"layer": 0', '"layer": -1'), "Hypothesis 1: key.layer"),
        (lambda t: t.replace('"user"', '"who"'), "Hypothesis 1: expected an object of"),
        (lambda t: t[:-3], "expected JSON"),
        (lambda _: "[" * 100_000, "expected JSON"),
        (lambda _: "null", "expected {"),
    ],
)
def test_a_broken_file_says_where(change: Callable[[str], str], message: str) -> None:
    kept = Hypothesis(KEY, "tiny", "ada", "n", "/x/", datetime.now(UTC))
    with pytest.raises(AnnotationError, match=message):
        from_json(change(to_json([kept])).encode())
