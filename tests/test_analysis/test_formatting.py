"""Numbers and shares as text."""

from analysis.formatting import number, share, shorten


def test_numbers_are_short_and_readable() -> None:
    shown = [number(x) for x in (0, 3.4609, -0.0333, 43602.0, 1.284e-4, float("nan"))]
    assert shown == ["0.00", "3.46", "-0.0333", "43,602", "1.28e-04", "–"]
    assert share(0.02) == "2.00%"
    assert share(3.3e-6) == "3.30 in a million"
    assert share(0.0) == "0.00%"


def test_a_text_too_long_ends_with_an_ellipsis() -> None:
    assert [shorten(text, 4) for text in ("", "abcd", "abcde")] == ["", "abcd", "abc…"]
