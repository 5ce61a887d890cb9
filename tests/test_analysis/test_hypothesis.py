"""The lab's numbers against definitions of their own: the language, shares by level, detection, ranking."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.hypothesis import Context, HypothesisError, measure_consistency, parse
from analysis.hypothesis.consistency import consistency_from_contexts
from analysis.hypothesis.detection import detection_curve, measure_detection, ordinals
from analysis.hypothesis.language import (
    And,
    First,
    Hypothesis,
    Match,
    Not,
    Or,
    Source,
    Tokens,
    Within,
)
from analysis.hypothesis.ranking import (
    POSITION_HYPOTHESES,
    SIMPLE_HYPOTHESES,
    preceding_text_hypotheses,
    propose,
    rank,
    sort_by_precision,
)
from analysis.intervals import Estimate, difference, weighted_mean, wilson
from analysis.patterns import compile_pattern
from cache.reader import NeuronCache, RangeSample

TEXT = Context([b"The", b" left", " caf\u00e9".encode(), b"1", b"23", b",", b" x", b"\n"], "prose", "en")

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


def test_wilsons_interval_is_that_of_the_textbook() -> None:
    found = wilson(81, 263)  # Newcombe 1998, table I, method 3
    assert (round(found.low, 4), round(found.high, 4)) == (0.2553, 0.3662)
    assert wilson(0, 20).low == 0
    assert round(wilson(0, 20).high, 4) == 0.1611
    assert wilson(5, 5).high == 1
    assert math.isnan(wilson(0, 0).value)


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    random = np.random.default_rng(5)
    shares, counts, n = [0.2, 0.5, 0.7], [600, 300, 100], [60, 80, 50]
    truth = float(np.average(shares, weights=counts))
    one = whole = apart = 0
    for _ in range(1000):
        found = [wilson(int(random.binomial(k, p)), k) for k, p in zip(n, shares, strict=True)]
        one += found[0].low <= shares[0] <= found[0].high
        joined = weighted_mean(found, counts)
        whole += joined.low <= truth <= joined.high
        change = difference(found[2], found[1])
        apart += change.low <= shares[2] - shares[1] <= change.high
    assert [0.93 <= hits / 1000 <= 0.97 for hits in (one, whole, apart)] == [True] * 3


def test_a_level_that_nobody_looked_at_may_hold_anything() -> None:
    sure = Estimate(1.0, 1.0, 1.0)
    found = weighted_mean([sure, wilson(0, 0)], [3, 1])
    assert (found.value, found.low, found.high) == (0.875, 0.75, 1.0)
    assert math.isnan(weighted_mean([], []).value)


def test_levels_count_what_fits_at_the_peak(tiny_model) -> None:  # type: ignore[no-untyped-def]
    cache = NeuronCache.open(tiny_model / "neurons")
    for hook in cache.hooks:
        ranges = cache.neuron(0, 5).ranges(hook)
        found = measure_consistency(parse("/e/"), ranges, cache.vocabulary)
        above = [r for r in ranges if r.high > 0]
        expected = [
            sum(b"e" in cache.vocabulary.token_bytes[e.tokens[e.peak]] for e in r.examples) for r in above
        ]
        assert [level.n_fit for level in found.levels] == expected
        assert [level.count for level in found.levels] == [r.count for r in above]
        assert sum(expected) > 0


def test_levels_of_whole_contexts() -> None:
    random = np.random.default_rng(0)
    values = random.uniform(-1, 4, 6000)
    marks = random.random(6000) < np.clip(values / 4, 0, 1)
    marks[values > 3] = True
    contexts = np.repeat(np.arange(60), 100)
    ranges = [RangeSample(-np.inf, 0, 9, [])] + [RangeSample(k, k + 1, 9, []) for k in range(4)]
    levels = consistency_from_contexts(values, marks, contexts, ranges).levels
    for k, level in enumerate(levels):
        inside = (values > k) & (values < k + 1)
        assert (level.n_fit, level.n_sampled) == (marks[inside].sum(), inside.sum())
        assert level.share.low < level.share.value <= level.share.high
    assert levels[3].share == wilson(60, 60)
    width = levels[1].share.high - levels[1].share.low  # contexts are no clusters here: as the binomial's
    assert width == pytest.approx(2 * 1.96 * math.sqrt(0.375 * 0.625 / levels[1].n_sampled), rel=0.25)


def test_contexts_that_are_all_alike_count_as_one() -> None:
    contexts = np.repeat(np.arange(20), 50)
    marks = contexts % 2 == 0
    (level,) = consistency_from_contexts(np.ones(1000), marks, contexts, [RangeSample(0, 2, 1000, [])]).levels
    assert level.share.high - level.share.low > 0.3  # the binomial of 1,000 says 0.06


finite = st.floats(-60000, 60000, width=16)


@given(st.lists(finite, min_size=1, max_size=30))
def test_ordinals_sort_as_the_values(values: list[float]) -> None:
    v = np.array(values, dtype=np.float16)
    assert np.array_equal(np.sign(np.subtract.outer(ordinals(v), ordinals(v))),
                          np.sign(np.subtract.outer(v.astype(float), v.astype(float))))  # fmt: skip


@given(st.lists(st.tuples(st.sampled_from([-1.5, -0.0, 0.0, 0.5, 1.0, 2.0]), st.booleans()), min_size=1))
def test_detection_by_brute_force(rows: list[tuple[float, bool]]) -> None:
    values = np.array([v for v, _ in rows], dtype=np.float16)
    marks = np.array([m for _, m in rows])
    curve = detection_curve(values, marks)
    fits, others = values[marks].astype(float), values[~marks].astype(float)
    if len(fits) and len(others):
        higher = fits[:, None] > others[None]
        assert curve.auc == pytest.approx((higher + 0.5 * (fits[:, None] == others[None])).mean())
    else:
        assert math.isnan(curve.auc)
    if not len(fits):
        assert not np.isfinite(curve.recall).any()
        return
    precision = recall = area = best = 0.0
    for threshold in sorted(set(values.astype(float).tolist()), reverse=True):
        yes = values >= threshold
        precision, before, recall = marks[yes].mean(), recall, marks[yes].sum() / marks.sum()
        area += (recall - before) * precision
        best = max(best, 2 * precision * recall / (precision + recall) if recall else 0.0)
    assert curve.average_precision == pytest.approx(area)
    p, r = curve.precision[curve.best], curve.recall[curve.best]
    assert 2 * p * r / (p + r) == pytest.approx(best)


def test_detections_intervals_come_from_contexts_and_cover() -> None:
    random = np.random.default_rng(3)
    truth, hits, tries = 0.760250, 0, 150  # P(N(1,1) > N(0,1)), the normal distribution at 1/sqrt(2)
    for seed in range(tries):
        marks = np.tile(np.arange(10) < 3, 40)
        values = (random.normal(size=400) + marks).astype(np.float16)
        found = measure_detection(values, marks, np.repeat(np.arange(40), 10), draws=200, seed=seed)
        hits += found.auc.low <= truth <= found.auc.high
    assert 0.88 <= hits / tries <= 0.99
    assert (found.n_fit, found.n_tokens, found.base_rate) == (120, 400, 0.3)


def test_all_or_nothing_has_no_interval() -> None:
    for marks in (np.zeros(4, dtype=bool), np.ones(4, dtype=bool)):
        found = measure_detection(np.arange(4, dtype=np.float16), marks, np.arange(4))
        assert math.isnan(found.auc.value)
        assert math.isnan(found.auc.low)


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


def test_the_first_tokens_are_those_of_the_context() -> None:
    assert parse("first 2")(TEXT).tolist() == [True, True] + [False] * 6
    assert parse("first 0")(TEXT).sum() == 0
    later = replace(TEXT, start=3)  # a window that begins inside its context
    assert parse("first 5")(later).tolist() == [True, True] + [False] * 6
    with pytest.raises(HypothesisError, match="as in first 16"):
        parse("first")


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
