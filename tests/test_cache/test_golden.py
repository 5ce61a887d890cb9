"""A golden cache of each version of the format, made by that version's code, reads to the last digit.

All are of tests/conftest.py's corpus, tokenizer and model with d_mlp = 4. Version 1: top_k = 3, a window of
7 tokens before and 4 after. Version 2: the same with range_samples = 2, sample_window = (3, 2) and
sample_tokens = 60, by `build_cache`. Version 3: that of version 2 with the columns it lacks, by the same
writer. They are never made again: whatever a program writes later, it must still read these files.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest

from cache.checking.verify import cache_problems
from cache.reader import NeuronCache

GOLDEN = Path(__file__).parent.parent / "golden"
VERSIONS = [1, 2, 3]


@pytest.fixture(params=VERSIONS)
def cache(request: pytest.FixtureRequest) -> NeuronCache:
    return NeuronCache.open(GOLDEN / f"cache_v{request.param}")


def test_it_is_whole(cache):
    assert list(cache_problems(cache.path)) == []
    assert sum(f.stat().st_size for f in cache.path.rglob("*") if f.is_file()) < 100_000


def test_what_it_was_made_from(cache):
    manifest = cache.manifest
    assert (cache.layers, cache.d_mlp, cache.hooks) == ([0], 4, ["hook_mid", "hook_post"])
    assert (manifest.corpus.n_documents, manifest.corpus.n_contexts) == (40, 118)
    assert (manifest.corpus.n_tokens, manifest.corpus.n_bytes) == (3213, 6299)
    assert manifest.model.sha256.startswith("d381ab6e9e4a")
    assert manifest.model.tokenizer.startswith("4388a5cac9ea")
    expected = "b4ff4bcd1f04" if manifest.version == 1 else "ce6511317329"
    assert manifest.corpus.sha256.startswith(expected)


def test_histograms(cache):
    found = {hook: cache.neuron(0, 2).histogram(hook) for hook in cache.hooks}
    used = {hook: np.flatnonzero(h.counts) for hook, h in found.items()}
    assert [(len(u), u[0], u[-1]) for u in used.values()] == [(183, 137, 540), (102, 123, 521)]
    assert [h.total for h in found.values()] == [3213, 3213]
    assert [h.counts @ np.arange(len(h.counts)) for h in found.values()] == [1140742, 1053862]
    assert [h.quantile(0.5) for h in found.values()] == [(0.015625, 0.017578125), (0.03125, 0.03515625)]
    assert found["hook_mid"].quantile(0.99) == (6.5, 7.0)


MOMENTS = {
    (1, "hook_mid"): (1.3946314909612907, 2.082106286800958, 1.2441440986285484, 0.1737355297725922),
    (1, "hook_post"): (0.4284225546148653, 1.1736459951503961, 0.0207771707769597, -1.7668892422693272),
    (2, "hook_mid"): (1.3946314908536799, 2.082106286911784, 1.2441440987937513, 0.1737355297887513),
    (2, "hook_post"): (0.42842255439225224, 1.1736459952690956, 0.020777171600556112, -1.7668892425239047),
}


@pytest.mark.parametrize("hook", ["hook_mid", "hook_post"])
def test_moments(cache, hook):
    moments = cache.neuron(0, 2).moments(hook)
    assert (moments.count, moments.n_nan, moments.n_inf) == (3213, 0, 0)
    found = (moments.mean, moments.std, moments.skewness, moments.kurtosis)
    assert found == MOMENTS[min(cache.manifest.version, 2), hook]
    expected = {
        "hook_mid": (-0.4978382885456085, 8.008461952209473),
        "hook_post": (-1.6947110891342163, 1.7320501804351807),
    }
    assert (moments.min, moments.max) == expected[hook]


def test_strongest_examples(cache):
    top = cache.neuron(0, 2).top("hook_mid")
    assert [(e.value, e.document.origin, e.position, e.context_start, e.peak) for e in top] == [
        (8.008461952209473, "own:code/0", 21, 0, 7),
        (7.825018882751465, "own:odd/3", 35, 31, 4),
        (7.429768085479736, "own:prose/19", 108, 93, 7),
    ]
    assert top[0].tokens.tolist() == [85, 299, 221, 88, 221, 11, 221, 16, 221, 221, 3, 221]
    assert "".join(p.text for p in cache.vocabulary.pieces(top[0].tokens)) == "urn x + 0  # "
    assert top[1].tokens.tolist() == [18, 20, 265, 221, 22, 21, 12, 21, 19]
    np.testing.assert_allclose(
        top[0].activations["hook_post"][:5],
        [-0.61503863, 1.6392798, 1.7320502, 0.11784685, 1.7320502],
        rtol=1e-6,
    )
    assert {e.document.licence for e in top} == {"CC0-1.0"}


def test_the_table(cache):
    table = cache.table(0, "hook_mid")
    assert table["max"].to_pylist() == [
        4.041232109069824, 4.40189790725708, 8.008461952209473, 1.44142746925354,
    ]  # fmt: skip
    assert table["peak_tokens"].to_pylist()[2] == [16, 22, 286]


def test_version_1_has_no_samples_tokens_or_sources():
    cache = NeuronCache.open(GOLDEN / "cache_v1")
    neuron = cache.neuron(0, 2)
    assert neuron.bottom("hook_mid") == neuron.ranges("hook_mid") == []
    assert neuron.tokens("hook_mid") == neuron.sources("hook_mid") == []
    assert cache.neurons_for(221, 0, "hook_mid") == []
    assert len(cache.sample()) == 0
    assert [e.document_index for e in neuron.top("hook_mid")] == [20, 39, 19]


@pytest.mark.parametrize("version", [2, 3])
def test_ranges(version):
    ranges = NeuronCache.open(GOLDEN / f"cache_v{version}").neuron(0, 2).ranges("hook_mid")
    assert [(r.low, r.high, r.count) for r in ranges] == [
        (-np.inf, 0.0, 1562), (0.0, 0.8125, 464), (0.8125, 1.625, 189), (1.625, 2.5, 170), (2.5, 3.25, 146),
        (3.25, 4.0, 134), (4.0, 5.0, 227), (5.0, 5.5, 119), (5.5, 6.5, 126), (6.5, 7.0, 46),
        (7.0, 8.008461952209473, 30),
    ]  # fmt: skip
    assert [[(e.value, e.document_index, e.position) for e in r.examples] for r in ranges][::5] == [
        [(-0.009080915711820126, 5904018052119746596, 68), (-0.0041498146019876, 2223182737334099927, 27)],
        [(3.282515525817871, 7213145164465001758, 13), (3.6546084880828857, 3157455514760103005, 24)],
        [(7.595235347747803, 4906998240909809719, 197), (7.29377555847168, 5904018052119746596, 55)],
    ]


@pytest.mark.parametrize("version", [2, 3])
def test_bottom_tokens_sources_and_contexts(version):
    cache = NeuronCache.open(GOLDEN / f"cache_v{version}")
    neuron = cache.neuron(0, 2)
    assert [(e.value, e.document.origin, e.position) for e in neuron.bottom("hook_mid")] == [
        (-0.4978382885456085, "own:prose/19", 85),
        (-0.4591090679168701, "own:prose/14", 101),
        (-0.43500086665153503, "own:code/13", 32),
    ]
    assert [(t.token, t.mean, t.count) for t in neuron.tokens("hook_mid")[:2]] == [
        (16, 4.298490047454834, 44), (286, 3.4223756790161133, 60),
    ]  # fmt: skip
    assert [(s.source, s.share) for s in neuron.sources("hook_mid")] == [
        ("prose", 0.43455958366394043), ("code", 0.3656332790851593), ("odd", 0.19980713725090027),
    ]  # fmt: skip
    assert cache.neurons_for(221, 0, "hook_mid")[0] == (2, 2.627163887023926)
    sample = [(r["document"], r["context_start"], len(r["tokens"])) for r in cache.sample().to_pylist()]
    assert sample == [(1585982587638428257, 31, 30)]
    names = [e.document_index for e in neuron.top("hook_mid")]
    assert names == [305312391971987109, 4906998240909809719, 3157455514760103005]


def test_version_3_reads_a_neuron_without_the_table_of_all(tmp_path):
    folder = tmp_path / "cache"
    shutil.copytree(GOLDEN / "cache_v3", folder)
    (folder / "neurons.parquet").write_bytes(b"")
    expected = NeuronCache.open(GOLDEN / "cache_v2").neuron(0, 2).moments("hook_mid")
    assert NeuronCache.open(folder).neuron(0, 2).moments("hook_mid") == expected
