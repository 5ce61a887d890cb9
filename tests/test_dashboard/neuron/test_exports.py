"""A neuron as files: each holds what the cache does, says what it is of, and runs nothing."""

import csv
import io
import json
import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pyarrow.parquet as pq
import pytest

from analysis.histogram_bars import Bars, bars_from_histogram
from analysis.spreadsheet import unescape_formula
from cache.reader import NeuronCache
from dashboard.neuron.exports.html_page import neuron_page
from dashboard.neuron.exports.layer_table import layer_table, layer_to_csv, layer_to_parquet
from dashboard.neuron.exports.neuron_record import Record, file_name, neuron_record, provenance_text
from dashboard.neuron.exports.tables import examples_to_csv, examples_to_parquet, histograms_to_csv, to_json
from dashboard.shared.annotations.content import Annotation, Content, Key
from dashboard.shared.paper_figures import histogram_figure

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"


@pytest.fixture(scope="module")
def cache(tiny_model: Path) -> NeuronCache:
    return NeuronCache.open(tiny_model / "neurons")


@pytest.fixture(scope="module")
def neuron(cache: NeuronCache) -> int:
    """One whose strongest examples hold hostile text."""
    return next(
        n
        for n in range(cache.d_mlp)
        for e in cache.neuron(0, n).top("hook_mid")
        if "<script>" in "".join(p.text for p in cache.vocabulary.pieces(e.tokens))
    )


@pytest.fixture(scope="module")
def record(cache: NeuronCache, neuron: int) -> Record:
    said = Annotation(
        Key("ab" * 32, 0, neuron), "tiny", HOSTILE, Content(HOSTILE, HOSTILE, True), datetime.now(UTC)
    )
    return neuron_record(cache, "tiny", 0, neuron, [said])


@pytest.fixture(scope="module")
def bars(cache: NeuronCache, neuron: int) -> dict[str, Bars]:
    one = cache.neuron(0, neuron)
    return {hook: bars_from_histogram(one.histogram(hook), one.moments(hook)) for hook in cache.hooks}


def test_json_holds_what_the_cache_does(cache: NeuronCache, neuron: int, record: Record) -> None:
    found = json.loads(to_json(record))
    one = cache.neuron(0, neuron)
    for hook in cache.hooks:
        part = found["hooks"][hook]
        strongest = [e for e in part["examples"] if e["kind"] == "strongest"]
        for row, example in zip(strongest, one.top(hook), strict=True):
            assert np.float32(row["value"]) == np.float32(example.value)
            assert row["tokens"] == example.tokens.tolist()
            assert row["origin"] == example.document.origin
            for name, values in example.activations.items():
                assert np.array_equal(np.array(row["activations"][name], np.float32), values)
        assert sum(b["count"] for b in part["histogram"]) == one.histogram(hook).total
        assert part["moments"]["kurtosis"] == pytest.approx(one.moments(hook).kurtosis, rel=1e-12)
        n_sampled = sum(len(r.examples) for r in one.ranges(hook))
        assert len(part["examples"]) == len(one.top(hook)) + n_sampled + len(one.bottom(hook))


def test_every_file_says_what_it_is_of(cache: NeuronCache, record: Record, bars: dict[str, Bars]) -> None:
    sha256, corpus = cache.manifest.model.sha256, cache.manifest.corpus.names[0]
    line = provenance_text(record, "hook_mid")
    for data in (
        to_json(record),
        examples_to_csv(record),
        histograms_to_csv(record),
        str(pq.read_schema(io.BytesIO(examples_to_parquet(record))).metadata).encode(),
        neuron_page(record, bars, "hook_mid").encode(),
        histogram_figure(bars, "tiny", line, "svg"),
        histogram_figure(bars, "tiny", line, "png"),
    ):
        assert sha256[:12].encode() in data
        assert corpus.encode() in data
        assert b"float32" in data


def test_tables_agree_with_the_record(record: Record, cache: NeuronCache) -> None:
    parquet = pq.read_table(io.BytesIO(examples_to_parquet(record))).to_pylist()
    rows = list(csv.DictReader(io.StringIO(examples_to_csv(record).decode(), newline="")))
    every = [e for part in record["hooks"].values() for e in part["examples"]]
    assert len(parquet) == len(rows) == len(every)
    for table, line, example in zip(parquet, rows, every, strict=True):
        text = "".join(p.text for p in cache.vocabulary.pieces(example["tokens"]))
        assert table["text"] == unescape_formula(line["text"]) == text
        assert table["peak_text"] in text
        assert table["tokens"] == json.loads(line["tokens"]) == example["tokens"]
        assert table["value"] == float(line["value"]) == example["value"]
    bins = list(csv.DictReader(io.StringIO(histograms_to_csv(record).decode())))
    for hook, part in record["hooks"].items():
        assert sum(int(b["count"]) for b in bins if b["hook"] == hook) == part["moments"]["count"]


class Reader(HTMLParser):
    """The elements, attributes and text of a page, and whether every element is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: set[str] = set()
        self.attributes: set[str] = set()
        self.values: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.values += [value or "" for _, value in attrs]
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_the_page_needs_nothing_and_runs_nothing(record: Record, bars: dict[str, Bars]) -> None:
    page = neuron_page(record, bars, "hook_mid")
    reader = Reader()
    reader.feed(page)
    assert not reader.open
    assert not reader.elements & {"script", "img", "link", "iframe", "object", "embed", "form", "base", "a"}
    assert not {a for a in reader.attributes if a.startswith("on") or a in ("src", "href")}
    assert not re.search(r"url\(|@import|https?:", page.split("<body>")[0])
    text = "".join(reader.text)
    assert HOSTILE in text
    assert text.count("<script>alert(1)</script>") > 3  # in the label, note, name, and in the corpus
    assert "prefers-color-scheme: dark" in page


def test_tints_follow_the_activations(record: Record, bars: dict[str, Bars]) -> None:
    page = neuron_page(record, bars, "hook_mid")
    deepest = max(float(a) for a in re.findall(r"--a:([0-9.]+)", page))
    assert deepest == 1
    lowest = min(v for e in record["hooks"]["hook_mid"]["examples"] for v in e["activations"]["hook_mid"])
    assert ('class="low"' in page) == (lowest < 0)


def test_a_figure_is_an_image_with_the_right_number_of_bars(bars: dict[str, Bars]) -> None:
    svg = histogram_figure(bars, HOSTILE + " $x^2$", "from $here$", "svg")
    root = ElementTree.fromstring(svg)
    texts = [e.text or "" for e in root.iter("{http://www.w3.org/2000/svg}text")]
    assert any("$x^2$" in t for t in texts)
    assert not any("mathdefault" in t for t in texts)
    assert not list(root.iter("{http://www.w3.org/2000/svg}script"))
    assert histogram_figure(bars, "x", "y", "png").startswith(b"\x89PNG")
    empty = {"hook_mid": Bars(np.array([0.0, 1.0]), np.array([0]))}
    assert histogram_figure(empty, "x", "y", "png").startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("solu-1l", "solu-1l-L0-N7.json"),
        ("../../etc/x y", "etc-x-y-L0-N7.json"),
        ("漢字", "model-L0-N7.json"),
    ],
)
def test_file_names_say_which_neuron(model: str, expected: str) -> None:
    assert file_name(model, 0, "N7.json") == expected


def test_a_layer_is_listed_with_its_labels(cache: NeuronCache) -> None:
    said = Annotation(
        Key("ab" * 32, 0, 5), "tiny", "ada", Content("=1+1", star=True, verdict="unsure"), datetime.now(UTC)
    )
    table = layer_table(cache, "tiny", 0, "hook_post", {5: said})
    rows = list(csv.DictReader(io.StringIO(layer_to_csv(table).decode(), newline="")))
    parquet = pq.read_table(io.BytesIO(layer_to_parquet(table)))
    assert cache.manifest.model.sha256 in str(parquet.schema.metadata)
    assert len(rows) == parquet.num_rows == cache.d_mlp
    for neuron, row in enumerate(rows):
        one = cache.neuron(0, neuron)
        assert int(row["neuron"]) == neuron
        assert np.float32(row["max"]) == np.float32(one.moments("hook_post").max)
        assert row["checkpoint_sha256"] == cache.manifest.model.sha256
        peaks = [cache.vocabulary.text(int(e.tokens[e.peak])) for e in one.top("hook_post")]
        assert json.loads(row["peak_texts"]) == peaks[: len(json.loads(row["peak_texts"]))]
    assert [(unescape_formula(r["label"]), r["star"], r["verdict"]) for r in rows[4:6]] == [
        ("", "False", ""),
        ("=1+1", "True", "unsure"),
    ]
    assert rows[5]["label"] == "'=1+1"


@pytest.fixture(params=["cache_v1", "cache_v2"])
def older(request: pytest.FixtureRequest) -> NeuronCache:
    return NeuronCache.open(Path(__file__).parents[2] / "golden" / request.param)


def test_older_caches_are_exported_too(older: NeuronCache) -> None:
    layer, hook = older.layers[0], older.hooks[0]
    record = neuron_record(older, "old", layer, 0)
    one = older.neuron(layer, 0)
    bars = {name: bars_from_histogram(one.histogram(name), one.moments(name)) for name in older.hooks}
    assert json.loads(to_json(record))["provenance"]["cache_version"] == older.manifest.version
    assert examples_to_parquet(record)
    assert examples_to_csv(record)
    assert "<li>" in neuron_page(record, bars, hook)
    assert layer_to_csv(layer_table(older, "old", layer, hook, {}))
