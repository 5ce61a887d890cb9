"""Ranks and proposals of the lab against plain loops over tokens."""

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from analysis.hypothesis import Context, parse
from analysis.hypothesis.detection import detection_curve
from analysis.hypothesis.language import Marks, Match
from analysis.hypothesis.ranking import (
    POSITION_HYPOTHESES,
    SIMPLE_HYPOTHESES,
    preceding_text_hypotheses,
    propose,
    rank,
    sort_by_precision,
)
from analysis.patterns import compile_pattern

steps = st.sampled_from([-65504.0, -2.0, -0.0, 0.0, 6e-8, 0.5, 0.50048828125, 3.0, 65504.0])


def scores(values: npt.NDArray[np.float16], marks: Marks) -> tuple[float, float]:
    """Average precision and AUC, token by token."""
    rows = sorted(zip(values.tolist(), marks.tolist(), strict=True), reverse=True)
    fits = [v for v, m in rows if m]
    others = [v for v, m in rows if not m]
    wins = sum(1.0 if f > o else 0.5 if f == o else 0.0 for f in fits for o in others)
    found = [sum(m for v, m in rows if v >= f) / sum(v >= f for v, _ in rows) for f in fits]
    return (
        sum(found) / len(fits) if fits else math.nan,
        wins / (len(fits) * len(others)) if fits and others else math.nan,
    )


@settings(deadline=None)
@given(st.integers(1, 12).flatmap(
    lambda n: st.tuples(arrays(np.float16, (6, n), elements=steps), arrays(np.bool_, n))
))  # fmt: skip
def test_a_layers_ranks_are_its_neurons_scores_one_by_one(
    layer: tuple[npt.NDArray[np.float16], Marks],
) -> None:
    activations, marks = layer
    expected = [scores(values, marks) for values in activations]
    answers = sort_by_precision(
        [*rank(activations[:4], marks, first=10), *rank(activations[4:], marks, first=14)]
    )
    assert sorted(a.neuron for a in answers) == list(range(10, 16))
    for answer in answers:
        wanted = expected[answer.neuron - 10]
        assert (answer.average_precision, answer.auc) == pytest.approx(wanted, nan_ok=True)
    told = [a.average_precision for a in answers if not math.isnan(a.average_precision)]
    assert told == sorted(told, reverse=True)


@settings(deadline=None)
@given(arrays(np.float16, 9, elements=steps), arrays(np.bool_, 9), steps)
def test_precision_and_recall_at_a_threshold_are_counts(
    values: npt.NDArray[np.float16], marks: Marks, threshold: float
) -> None:
    curve = detection_curve(values, marks)
    assert curve.values.tolist() == sorted(set(values.tolist()), reverse=True)
    at = np.flatnonzero(curve.values == threshold)
    if len(at) and marks.any():
        yes = values >= threshold
        assert curve.precision[at[0]] == pytest.approx(marks[yes].mean())
        assert curve.recall[at[0]] == pytest.approx(yes[marks].mean())


CONTEXTS = np.repeat(np.arange(40), 50)
CHOOSING = CONTEXTS % 2 == 0


def test_a_proposal_is_scored_on_text_that_did_not_choose_it() -> None:
    random = np.random.default_rng(4)
    values = random.normal(size=2000).astype(np.float16)
    strong = values > 1
    candidates = {
        "lucky": np.where(CHOOSING, strong, random.random(2000) < 0.16),
        "unlucky": np.where(CHOOSING, random.random(2000) < 0.16, strong),
        "so-so": (values + random.normal(size=2000) > 1.5),
        "half": strong & CHOOSING,
        "never": strong & False,
    }
    found = propose(values, list(candidates.items()), CONTEXTS, n_best=2)
    assert [p.text for p in found] == ["so-so", "lucky"]  # chosen by one half, in the other half's order
    for proposal in found:
        marks = candidates[proposal.text]
        wanted = scores(values[~CHOOSING], marks[~CHOOSING])
        assert (proposal.average_precision, proposal.auc) == pytest.approx(wanted)
        assert proposal.share == pytest.approx(marks.mean())
    assert found[1].auc == pytest.approx(0.5, abs=0.1)
    every = [p.text for p in propose(values, list(candidates.items()), CONTEXTS)]
    assert set(every) == {"lucky", "unlucky", "so-so"}
    assert every[0] == "unlucky"


def test_proposals_of_no_neuron_are_better_than_chance() -> None:
    """Of 300 candidates that mean nothing the best 12 look good where they were chosen, and nowhere else."""
    random = np.random.default_rng(6)
    values = random.normal(size=2000).astype(np.float16)
    candidates = [(str(k), random.random(2000) < 0.05) for k in range(300)]
    found = propose(values, candidates, CONTEXTS)
    chosen_by = [scores(values[CHOOSING], dict(candidates)[p.text][CHOOSING])[0] for p in found]
    assert len(found) == 12
    assert min(chosen_by) > 0.065  # of tokens that fit by chance there are 5%
    assert np.mean([p.average_precision for p in found]) == pytest.approx(0.055, abs=0.006)


def test_words_before_firings_come_from_the_half_that_chooses() -> None:
    """`left` stands before firings of the even contexts, `right` of the odd ones, a line's end of some."""
    random = np.random.default_rng(8)
    words = [b" x", b".", b"a\n", "é".encode(), b"\xc3"]
    token_bytes = [words[k] for k in random.integers(0, len(words), 2000)]
    values = random.uniform(-1, 0, 2000).astype(np.float16)
    for at in range(25, 2000, 50):
        token_bytes[at - 1] = b" left/" if CHOOSING[at] else b" right"
        values[at] = 5
    for at in (10, 110, 210):
        values[at], token_bytes[at - 1] = 2, b"[a|\n"
    for at in range(50, 2000, 50):  # the first of a context has nothing before it
        values[at], token_bytes[at - 1] = 9, b" other"
    found = preceding_text_hypotheses(values, CONTEXTS, token_bytes)
    assert found[0] == str(parse("after / left\\//"))
    assert not any("right" in text or "other" in text for text in found)
    marks = parse(found[0])(Context(token_bytes))
    assert np.flatnonzero(marks).tolist() == [at for at in range(25, 2000, 50) if CHOOSING[at]]
    after_line = np.flatnonzero(parse(found[1])(Context(token_bytes))).tolist()
    assert after_line == [10, 110, 210]
    assert preceding_text_hypotheses(-abs(values), CONTEXTS, token_bytes) == []


def test_the_neuron_that_was_planted_is_found() -> None:
    random = np.random.default_rng(0)
    marks = random.random(2000) < 0.1
    layer = random.normal(size=(70, 2000)).astype(np.float16)
    layer[41] += 3 * marks
    answers = sort_by_precision([*rank(layer[:32], marks), *rank(layer[32:], marks, first=32)])
    assert answers[0].neuron == 41
    assert answers[0].auc > 0.95
    assert len(answers) == 70
    candidates = [("/planted/", marks), ("/other/", random.random(2000) < 0.1), ("/none/", marks & False)]
    found = propose(layer[41], candidates, np.repeat(np.arange(20), 100))
    assert [p.text for p in found] == ["/planted/", "/other/"]
    odd = np.repeat(np.arange(20), 100) % 2 == 1
    assert found[0].average_precision == detection_curve(layer[41][odd], marks[odd]).average_precision


def test_what_stands_before_firings_is_proposed() -> None:
    """The neuron fires after `0x`, of two tokens, and after a line break, in contexts that choose."""
    words = [b"a", b"0", b"x", b"hit", b" b", b"\n", b"hit", b"/", b"c"]
    token_bytes, values, contexts = [], [], []
    for context in range(40):
        token_bytes += words
        values += [0.0, 0.0, 0.0, 5.0, 0.0, 0.0, 3.0, 0.0, 9.0 * (context % 2)]  # odd ones do not choose
        contexts += [context] * len(words)
    found = preceding_text_hypotheses(np.array(values, dtype=np.float16), np.array(contexts), token_bytes)
    assert set(found) == {"after /x/", "after /\\n/", "after /0x/", "after / b\\n/"}
    marks = [parse(text)(Context(words)) for text in found]
    assert all(m[3] or m[6] for m in marks)
    assert all(parse(text) for text in (*POSITION_HYPOTHESES, *SIMPLE_HYPOTHESES.values()))


@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=4), min_size=2, max_size=6))
def test_whatever_stands_before_a_firing_can_be_read_and_is_that(words: list[str]) -> None:
    data = [word.encode() for word in words]
    values = np.zeros(len(data), dtype=np.float16)
    values[-1] = 1
    found = preceding_text_hypotheses(values, np.zeros(len(data), dtype=np.int64), data)
    assert len(found) == min(2, len(data) - 1)
    for length, text in enumerate(found, start=1):
        tree = parse(text)
        assert isinstance(tree, Match)
        assert compile_pattern(tree.pattern, False).fullmatch(b"".join(data[-1 - length : -1]))
        assert "\n" not in text
