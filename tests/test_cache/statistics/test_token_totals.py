"""Totals by token in two words, against Python's integers."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.statistics import token_totals
from cache.statistics.token_kernels import add_by_token
from cache.statistics.token_totals import GRID_BITS, GRID_TOP

M, V = 300, 3
totals = st.lists(st.integers(-(2**62), 2**62), min_size=2, max_size=2)


@given(st.lists(totals, min_size=1, max_size=6))
@settings(deadline=None)
def test_words_hold_what_was_added(added: list[list[int]]):
    words = token_totals.empty(1, 2)
    kept = []
    for values in added:
        if all(abs(sum(v[j] for v in [*kept, values])) < 2**63 for j in range(2)):
            kept.append(values)
            token_totals.add(words, np.array([values]))
    assert token_totals.whole(words)[0].tolist() == [sum(v[j] for v in kept) for j in range(2)]


def on_grid(values: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    x = np.clip(
        np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=np.inf, neginf=-np.inf), -GRID_TOP, GRID_TOP
    )
    return np.rint(x * 2.0**GRID_BITS).astype(np.int64)


@pytest.mark.parametrize("largest", [0.01, 127.99999, 128.0, 1e6])
@pytest.mark.parametrize("sign", [-1, 0, 1])
def test_totals_that_overflow_a_word_are_whole(largest: float, sign: int):
    """Add single and repeated tokens until low words wrap around: upward, downward, both ways."""
    rng = np.random.default_rng(0)
    words = token_totals.empty(V, M)
    expected = np.zeros((V, M), np.int64)
    for _ in range(40):
        tokens = rng.integers(0, V, rng.integers(2, 6))
        values = rng.uniform(-largest, largest, (len(tokens), M)).astype(np.float32)
        values = sign * np.abs(values) if sign else values
        values[1, :2] = largest, -largest
        order = np.argsort(tokens[1:], kind="stable") + 1
        extremes = np.stack([values[1:].min(0), values[1:].max(0)])
        add_by_token(values, order, tokens, extremes, True, words)
        np.add.at(expected, tokens[1:], on_grid(values[1:]))
    np.testing.assert_array_equal(token_totals.whole(words), expected)
    if largest > 1:
        assert (np.abs(expected) >= 2**31).any()


def test_nan_adds_nothing_and_infinity_the_most():
    values = np.array([[0, 0, 0, 0], [np.nan, np.inf, -np.inf, 1]], np.float32)
    words = token_totals.empty(V, 4)
    add_by_token(values, np.array([1]), np.array([0, 2]), values[1:].repeat(2, 0), False, words)
    assert token_totals.whole(words)[2].tolist() == [0, 2**40, -(2**40), 2**GRID_BITS]
