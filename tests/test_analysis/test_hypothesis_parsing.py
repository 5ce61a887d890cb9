"""Hypotheses as text: what is printed reads as it was, and what cannot be read says where."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.hypothesis import HypothesisError, parse
from analysis.hypothesis.language import And, First, Hypothesis, Match, Not, Or, Source, Tokens, Within

leaves = st.one_of(
    st.builds(
        Match,
        st.sampled_from(["a", "[0-9]+", "a/b", r"\/", r"\\", "[/]", "é|x", "(a|b)c", r"\s"]),
        st.booleans(),
        st.sampled_from(["", "before", "after"]),
    ),
    st.builds(Tokens, st.lists(st.text(st.characters(codec="utf-8")), min_size=1, max_size=3).map(tuple)),
    st.builds(First, st.integers(0, 999_999)),
    st.builds(Source, st.text(st.characters(codec="utf-8"))),
)
trees = st.recursive(
    leaves,
    lambda part: st.one_of(
        st.builds(Not, part),
        st.builds(And, part, part),
        st.builds(Or, part, part),
        st.builds(Within, part, st.integers(0, 1000), part),
    ),
    max_leaves=8,
)


def written(tree: Hypothesis) -> Hypothesis:
    """A tree with its patterns as they are read: an escaped slash is a slash."""
    if isinstance(tree, Match):
        return replace(tree, pattern=tree.pattern.replace("\\/", "/"))
    if isinstance(tree, Not):
        return Not(written(tree.part))
    if isinstance(tree, And | Or):
        return type(tree)(written(tree.left), written(tree.right))
    if isinstance(tree, Within):
        return Within(written(tree.part), tree.distance, written(tree.other))
    return tree


@given(trees)
def test_what_is_printed_reads_as_it_was(tree: Hypothesis) -> None:
    tree = written(tree)
    assert parse(str(tree)) == tree


@pytest.mark.parametrize(
    ("text", "position", "said"),
    [
        ("left", 0, "write /left/"),
        ("/a", 0, "closing /"),
        ("/(/", 0, r"missing \)"),
        ("/[a/", 0, r"missing \]"),
        ("/(?=a)/", 0, "invalid perl operator"),
        ("/((a{1,99}){1,99}){1,99}/", 0, "cannot be used"),
        ("//", 0, "between the slashes"),
        ("/a/ and", 7, "found the end"),
        ("/a/ /b/", 4, "expected and, or, within, or the end"),
        ("(/a/ or /b/", 11, r"\) for the \( at character 1"),
        ("/a/ within x of /b/", 11, "number of tokens"),
        ("/a/ within 5 /b/", 13, "expected of"),
        ("/a/ within 2000 of /b/", 11, "up to 1000"),
        ("token", 5, "a token in quotes"),
        ('token "a', 6, 'closing "'),
        (r'token "\x"', 6, "escaped as in JSON"),
        (r'token "\ud800"', 6, "escaped as in JSON"),
        ('source "a" "b"', 0, "joined by or"),
        ("", 0, "found the end"),
        ("not " * 60 + "/a/", 200, "at most 50"),
        ("(" * 500, 50, "at most 50"),
        ("before token", 7, "between slashes"),
    ],
)
def test_what_cannot_be_read_says_where(text: str, position: int, said: str) -> None:
    with pytest.raises(HypothesisError, match=said) as found:
        parse(text)
    assert found.value.position == position


@given(st.lists(st.sampled_from(['/a/', '/[/', 'token', '"a"', '"', '(', ')', 'not', 'and', 'or', 'within',
                                 '3', 'of', 'source', 'before', 'after', '/', '\\', ' ', '\n', 'é', '/(/i']),
                max_size=12))  # fmt: skip
def test_what_is_no_hypothesis_is_refused_with_a_place_in_it(parts: list[str]) -> None:
    text = "".join(parts)
    tree = error = None
    try:
        tree = parse(text)
    except HypothesisError as refused:
        error = refused
    if error is None:
        assert parse(str(tree)) == tree
    else:
        assert 0 <= error.position <= len(text)
        assert str(error)


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("not /a/ within 1 of /b/", "(not /a/) within 1 of /b/"),
        ("/a/ within 1 of /b/ and /c/", "(/a/ within 1 of /b/) and /c/"),
        ("/a/ or /b/ and not /c/", "/a/ or (/b/ and (not /c/))"),
        ("/a/ within 1 of /b/ within 2 of /c/", "(/a/ within 1 of /b/) within 2 of /c/"),
        ("/a/and/b/or/c/", "(/a/ and /b/) or /c/"),
        ("\n NOT\t( /a/ Or\n/b/ )  ", "not (/a/ or /b/)"),
    ],
)
def test_what_binds_more_closely(text: str, means: str) -> None:
    assert parse(text) == parse(means)
