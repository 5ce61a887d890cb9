"""Lists of neurons: the questions, their addresses, what a row shows, and the page through the app."""

import math
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from streamlit.testing.v1 import AppTest

import dashboard
from analysis.patterns import PatternError
from cache.format import schema
from cache.format.histogram import N_BINS, bin_index
from cache.format.schema import CacheError
from cache.format.vocabulary import Vocabulary
from cache.reader import NeuronCache
from dashboard.neurons.neuron_pages import PAGE_SIZE, page_of, quantities_of
from dashboard.neurons.token_search import peaks_among, tokens_matching
from dashboard.shared import settings
from dashboard.shared.address import AddressError
from dashboard.shared.list_address import Listing, Search, parse, place_of
from dashboard.shared.neuron_preview import N_SNIPPETS, N_SPARK, previews, snippet, sparkline
from dashboard.shared.neuron_query import Interval, Query
from dashboard.shared.page_paths import NEURONS

NAN = math.nan
HOOK = "hook_mid"


def write(folder: Path, rows: list[dict[str, object]], leave_out: tuple[str, ...] = ()) -> Path:
    """A `neurons.parquet` of these rows; what a row does not say is harmless."""
    usual = {
        "layer": 0, "hook": HOOK, "count": 100, "n_nan": 0, "n_inf": 0, "min": -1.0, "max": 1.0, "mean": 0.0,
        "std": 1.0, "skewness": 0.0, "kurtosis": 0.0, "density": 0.01, "density_above": 0.1,
        "peak_tokens": [1], "best_source": "a", "best_source_share": 0.5, "best_token": 1,
    }  # fmt: skip
    table = pa.Table.from_pylist([usual | row for row in rows], schema=schema.NEURONS_SCHEMA)
    pq.write_table(table.drop_columns(list(leave_out)), folder / schema.NEURONS, row_group_size=7)
    return folder


def neurons(folder: Path, query: Query, found: pa.Table | None = None) -> list[int]:
    return [row.neuron for row in page_of(folder, query, found).rows]


@pytest.fixture(scope="module")
def random_cache(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, object]]]:
    """Three layers of 90 neurons at two hooks, with ties and NaN in it."""
    random = np.random.default_rng(1)
    rows: list[dict[str, object]] = [
        {
            "layer": layer, "neuron": neuron, "hook": hook,
            "max": float(np.float32(random.choice([NAN, 1e-9, 0.5, random.lognormal()]))),
            "density": float(random.choice([0.0, 0.01, 0.6, random.random()])),
            "kurtosis": float(random.choice([NAN, 3.0, random.normal(0, 50)], p=[0.2, 0.2, 0.6])),
            "skewness": float(random.normal()),
            "best_source": str(random.choice(["a", "b'; DROP TABLE x; --"])),
            "best_source_share": float(random.random()),
        }
        for layer in range(3) for hook in (HOOK, "hook_post") for neuron in range(90)
    ]  # fmt: skip
    return write(tmp_path_factory.mktemp("random"), rows), rows


def expected(rows: list[dict[str, object]], query: Query) -> list[tuple[int, int]]:
    """The definition: Python over the rows."""
    rows = [r for r in rows if r["hook"] == query.hook and query.layer in (None, r["layer"])]
    strongest = {
        layer: max(r["max"] for r in rows if r["layer"] == layer and not math.isnan(r["max"]))
        for layer in {r["layer"] for r in rows}
    }
    columns = {name: name for name in ("max", "density", "kurtosis", "skewness")} | {
        "share": "best_source_share"
    }

    def state(row: dict[str, object]) -> str:
        if not row["max"] > 1e-3 * strongest[row["layer"]]:
            return "dead"
        return "always" if row["density"] > 0.5 else "normal"

    def fits(row: dict[str, object]) -> bool:
        allowed = {"all": {"dead", "always", "normal"}, "alive": {"always", "normal"}}
        if state(row) not in allowed.get(query.state, {query.state}):
            return False
        if query.source is not None and row["best_source"] != query.source:
            return False
        for name, interval in query.intervals.items():
            value = row[columns[name]]
            if interval.low is not None and not value >= interval.low:
                return False
            if interval.high is not None and not value <= interval.high:
                return False
        return True

    def order(row: dict[str, object]) -> tuple[bool, float, int, int]:
        value = row[columns[query.sort]]
        return math.isnan(value), -value if query.descending else value, row["layer"], row["neuron"]

    kept = [row for row in rows if fits(row)]
    nothing = [r for r in kept if math.isnan(r[columns[query.sort]])]
    numbers = [r for r in kept if not math.isnan(r[columns[query.sort]])]
    ordered = sorted(numbers, key=order) + sorted(nothing, key=lambda r: (r["layer"], r["neuron"]))
    return [(r["layer"], r["neuron"]) for r in ordered]


@pytest.mark.parametrize(
    "query",
    [
        Query(HOOK),
        Query("hook_post", layer=1, sort="max", descending=False),
        Query(HOOK, state="all", sort="kurtosis", descending=False),
        Query(HOOK, state="dead", sort="max"),
        Query(HOOK, state="always", sort="density"),
        Query(HOOK, state="all", intervals={"kurtosis": Interval(-1e300, None)}),
        Query(HOOK, state="all", intervals={"kurtosis": Interval(3, 3), "density": Interval(None, 0.6)}),
        Query(HOOK, intervals={"share": Interval(0.2, 0.9), "max": Interval(0.5, None)}, sort="share"),
        Query(HOOK, source="b'; DROP TABLE x; --", sort="skewness"),
        Query(HOOK, source="nobody"),
    ],
)
def test_pages_are_what_python_finds(
    random_cache: tuple[Path, list[dict[str, object]]], query: Query
) -> None:
    folder, rows = random_cache
    found: list[tuple[int, int]] = []
    want = expected(rows, query)
    for number in range(1, max(1, -(-len(want) // PAGE_SIZE)) + 1):
        page = page_of(folder, query.with_(page=number))
        assert (page.total, page.number) == (len(want), number)
        found += [(row.layer, row.neuron) for row in page.rows]
    assert found == want


def test_a_page_beyond_the_last_is_the_last(random_cache: tuple[Path, list[dict[str, object]]]) -> None:
    folder, _ = random_cache
    page = page_of(folder, Query(HOOK, state="all", sort="neuron", descending=False, page=999))
    assert (page.total, page.number, page.n_pages) == (270, 6, 6)
    assert [(r.layer, r.neuron) for r in page.rows] == [(2, n) for n in range(70, 90)]


def test_a_search_ranks_and_restricts(tmp_path: Path) -> None:
    folder = write(tmp_path, [{"neuron": n, "kurtosis": n} for n in range(9)])
    found = pa.table({"layer": [0, 0, 0], "neuron": [7, 2, 5], "match": [0.2, NAN, 0.9]})
    assert neurons(folder, Query(HOOK, sort="match"), found) == [5, 7, 2]
    assert neurons(folder, Query(HOOK, sort="kurtosis"), found) == [7, 5, 2]
    assert neurons(folder, Query(HOOK, sort="match", descending=False)) == list(range(9))
    nothing = found.slice(0, 0)
    assert page_of(folder, Query(HOOK, sort="match"), nothing).total == 0


def test_states_are_told(tmp_path: Path) -> None:
    folder = write(
        tmp_path,
        [
            {"neuron": 0, "max": 1000.0, "density": 0.5},
            {"neuron": 1, "max": 1.0},
            {"neuron": 2, "max": 1.01, "density": 0.51},
            {"neuron": 3, "max": NAN},
            {"neuron": 4, "layer": 1, "max": NAN},
        ],
    )
    rows = page_of(folder, Query(HOOK, state="all", sort="neuron", descending=False)).rows
    assert [row.state for row in rows] == ["", "dead", "always on", "dead", "dead"]


def test_an_old_cache_knows_no_sources(tmp_path: Path) -> None:
    folder = write(tmp_path, [{"neuron": 3}], leave_out=("best_source", "best_source_share"))
    assert quantities_of(folder) == ["max", "density", "kurtosis", "skewness"]
    query = Query(HOOK, source="a", intervals={"share": Interval(0.9, 1)}, sort="share")
    (row,) = page_of(folder, query).rows
    assert (row.neuron, row.source, row.share) == (3, None, None)


@pytest.mark.parametrize("data", [b"", b"not this", None])
def test_a_damaged_table_is_said(tmp_path: Path, data: bytes | None) -> None:
    if data is not None:
        (tmp_path / schema.NEURONS).write_bytes(data)
    with pytest.raises(CacheError, match="copy the cache again"):
        page_of(tmp_path, Query(HOOK))


def test_a_list_comes_back_from_its_address() -> None:
    query = Query(
        HOOK, None, {"max": Interval(0.1, None), "density": Interval(1e-300, 0.30000000000000004)},
        source="a&b=c", state="dead", sort="share", descending=False, page=7,
    )  # fmt: skip
    listing = Listing(query, Search("peaks", r" ^ ?\d+~$ ", 3))
    assert parse(listing.params(), 4, HOOK) == listing
    plain = Listing(Query(HOOK, layer=2))
    assert plain.params() == {"layer": "2", "hook": HOOK}
    assert parse(plain.params(), 2, HOOK) == plain
    assert place_of({"layer": "all", "neuron": ""}).layer is None


@pytest.mark.parametrize(
    ("name", "value"),
    [("max", "1"), ("max", "~~"), ("density", "nan~"), ("kurtosis", "1e999~"), ("share", "a~b"),
     ("page", "-1"), ("page", "x"), ("sort", "layer; DROP"), ("show", "x"), ("by", "x"),
     ("dir", "x"), ("token", "٣")],
)  # fmt: skip
def test_an_address_that_is_no_list_says_what_was_expected(name: str, value: str) -> None:
    with pytest.raises(AddressError, match=f"the address says {name} = .*expected"):
        parse({name: value}, 0, HOOK)


def test_sorting_turns_and_a_search_ranks_first() -> None:
    listing = Listing(Query(HOOK, 0, page=5))
    assert listing.sorted_by("max").query == Query(HOOK, 0, sort="max")
    assert not listing.sorted_by("kurtosis").query.descending
    assert not listing.sorted_by("neuron").query.descending
    searching = listing.searching(Search("token", "a"))
    assert (searching.query.sort, searching.query.page) == ("match", 1)
    resorted = searching.sorted_by("max").searching(Search("token", "ab"))
    assert resorted.query.sort == "max"
    assert searching.searching(Search()).query.sort == "kurtosis"


def test_a_snippet_marks_its_peak_and_keeps_whole_characters() -> None:
    vocabulary = Vocabulary([b"a", b"\n", b"\xc3", b"\xa9", b" "])
    made = snippet([0, 1, 2, 3, 4], np.array([-4.0, 0, 1, 2, NAN]), 3, 2.0, vocabulary)
    assert made.texts == ["a", "↵", "é", "·"]
    assert (made.strengths, made.peak) == ([-100, 0, 100, 0], 2)
    many = snippet([0] * 400, np.arange(400.0), 200, 399.0, vocabulary)
    assert many.texts[many.peak] == "a"
    assert many.strengths[many.peak] == 50
    assert len(many.texts) == 16 + 1 + 12
    assert snippet([0], np.array([0.0]), 0, 0.0, vocabulary).strengths == [0]


def test_a_sparkline_is_the_histogram() -> None:
    values = np.random.default_rng(2).uniform(1, 2, 100_000).astype(np.float32)
    counts = np.bincount(bin_index(values), minlength=N_BINS)
    used = np.flatnonzero(counts)
    bars = sparkline(used, counts[used])
    assert len(bars) == N_SPARK
    assert min(bars) >= 97  # uniform, so that all are about as high
    assert max(bars) == 100
    assert sorted(sparkline(np.array([322]), np.array([5]))) == [0] * (N_SPARK - 1) + [100]  # zeros alone
    assert sparkline(np.array([]), np.array([])) == [0] * N_SPARK


@pytest.mark.parametrize("which", ["now", "cache_v1", "cache_v2"])
def test_previews_are_those_of_the_reader(tiny_model: Path, which: str) -> None:
    golden = Path(__file__).parents[2] / "golden"
    cache = NeuronCache.open(tiny_model / "neurons" if which == "now" else golden / which)
    layer, keys = cache.layers[-1], [(cache.layers[-1], n) for n in (1, cache.d_mlp - 1, 0)]
    for hook in cache.hooks:
        found = previews(cache, hook, keys)
        assert list(found) == keys
        for _, n in keys:
            top = cache.neuron(layer, n).top(hook)
            preview = found[layer, n]
            assert len(preview.snippets) == min(N_SNIPPETS, len(top))
            for shown, example in zip(preview.snippets, top, strict=False):
                whole = "".join(p.text for p in cache.vocabulary.pieces(example.tokens))
                words = "".join(shown.texts).replace("↵", "\n").replace("⇥", "\t").replace("·", " ")
                assert words in whole.replace("·", " ")
                assert shown.strengths[shown.peak] == pytest.approx(100 * example.value / top[0].value, abs=1)
            assert len(preview.spark) == N_SPARK
    assert previews(cache, cache.hooks[0], []) == {}


def test_an_expression_finds_tokens_and_neurons(tmp_path: Path) -> None:
    vocabulary = Vocabulary([b"12", b" 7", b"x7", b"caf\xc3\xa9", b"\xff"])
    assert tokens_matching(r"^ ?\d+$", vocabulary) == [0, 1]
    assert tokens_matching("é", vocabulary) == [3]
    for pattern in ("(", "[a-", "(?=x)", "a{2000}"):
        with pytest.raises(PatternError, match=r"\w"):
            tokens_matching(pattern, vocabulary)
    folder = write(
        tmp_path,
        [
            {"neuron": 0, "peak_tokens": [0, 1, 2, 0]},
            {"neuron": 1, "peak_tokens": [3]},
            {"neuron": 2, "peak_tokens": []},
            {"neuron": 0, "layer": 1, "peak_tokens": [1]},
            {"neuron": 5, "hook": "hook_post", "peak_tokens": [0]},
        ],
    )  # fmt: skip
    rows = peaks_among(folder, [0, 1], HOOK, None).sort_by("layer").to_pylist()
    assert [(r["layer"], r["neuron"], r["match"]) for r in rows] == [(0, 0, 0.75), (1, 0, 1.0)]
    assert len(peaks_among(folder, [0, 1], HOOK, 1)) == 1
    assert len(peaks_among(folder, [], HOOK, None)) == 0


# --- the page, without a browser ---


@pytest.fixture
def models(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a copy of the tiny model, the only one that the app finds."""
    shutil.copytree(tiny_model, tmp_path / "models" / "tiny")
    monkeypatch.setattr(settings, "model_roots", lambda: [tmp_path / "models"])
    return tmp_path / "models"


def opened(**params: str) -> AppTest:
    app = AppTest.from_file(str(Path(dashboard.__file__).with_name("pages.py")), default_timeout=60).run()
    app.switch_page(NEURONS)
    for name, value in params.items():
        app.query_params[name] = value
    return app.run()


def test_the_filters_change_the_address_and_are_cleared(models: Path) -> None:
    app = opened()
    assert not app.exception
    assert "of 48 neurons of layer 0" in app.caption[0].value
    app.number_input(key="list_kurtosis_low").set_value(1e6).run()
    assert app.query_params["kurtosis"] == "1000000.0~"
    assert "No neuron matches" in app.info[0].value
    app.button(key="empty_filters").click().run()
    assert "kurtosis" not in app.query_params
    assert [c.key for c in app.get("bidi_component")].count("neuron_list") == 1


@pytest.mark.parametrize(
    ("by", "text", "expected"),
    [("peaks", "(", "missing"), ("token", "no such token anywhere", "no token of the vocabulary")],
)  # fmt: skip
def test_a_search_that_cannot_be_made_says_why(models: Path, by: str, text: str, expected: str) -> None:
    app = opened(by=by, q=text)
    assert not app.exception
    assert expected in app.error[0].value.replace("\\", "")


@pytest.mark.parametrize("hook", ["hook_mid", "hook_post"])
def test_a_text_finds_what_the_model_does_on_it(models: Path, hook: str) -> None:
    app = opened(by="text", q="the lamp was lit", hook=hook)
    assert not app.exception
    assert "as a share of the neuron's maximum" in app.caption[0].value.replace("\\", "")


def test_a_click_on_a_row_opens_its_neuron(models: Path) -> None:
    app = opened(hook="hook_post")
    app.session_state["neuron_list"] = {"open": {"layer": 0, "neuron": 11}}
    app.run()
    assert app.subheader[0].value.startswith("Layer 0 · neuron 11")
    assert app.query_params["hook"] == "hook_post"


def test_a_cache_of_version_1_is_listed(models: Path) -> None:
    shutil.rmtree(models / "tiny")
    shutil.copytree(Path(__file__).parents[2] / "golden" / "cache_v1", models / "old" / "neurons")
    app = opened()
    assert not app.exception
    assert [c.key for c in app.get("bidi_component")].count("neuron_list") == 1
    token = opened(q="a")
    assert "holds no activations by token" in token.error[0].value.replace("\\", "")
