"""The accumulator for devices, on torch's CPU device, against the compiled loops."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from cache.building.build import write_complete_state
from cache.building.engine import Engine, Options
from cache.building.workers import DocumentWorkers
from cache.device import accumulator, arithmetic
from cache.device.accumulator import DeviceAccumulator, device_memory
from cache.format.histogram import N_BINS, ZERO, bin_edges, bin_index
from cache.format.schema import CacheError
from cache.shards.corpus import Corpus, CorpusPart
from cache.shards.state import BuildState
from cache.statistics.accumulator import CpuAccumulator, prepare_context
from cache.statistics.exact_sum import to_float
from cache.statistics.example_lists import Window
from cache.statistics.hook import HookStatistics, StatisticsOptions
from cache.statistics.identity import neuron_keys, priority, token_hashes
from cache.statistics.layer import LayerStatistics
from cache.statistics.ranges import N_LISTS, N_TRACKED
from tests.test_cache import synthetic
from tests.test_cache.synthetic import FLAVOURS, Made, V, corpus_of, made, state_of
from tests.test_cache.test_law import bytes_of, saved, through_disk


def check_same(found: BuildState, expected: BuildState, documents: list[Made]) -> None:
    """Assert that two states have equal bytes, but for the last bits of sums over a context.

    Power sums are within 1e-12 of the sum of sizes, the mass of a source within a unit for each context.
    """
    n_contexts = sum(len(d.contexts) for d in documents)
    for h, (mine, theirs) in enumerate(zip(found.layers[0], expected.layers[0], strict=True)):
        arrays, others = mine.arrays(), theirs.arrays()
        assert arrays.keys() == others.keys()
        masses = [arrays.pop("source_mass"), others.pop("source_mass")]
        assert np.abs(masses[0] - masses[1]).max() <= n_contexts
        sums = [to_float(arrays.pop("power_sums")), to_float(others.pop("power_sums"))]
        past_bos = [a[h, 1:] for d in documents for _, a in d.contexts]
        sizes = (
            np.abs(np.concatenate(past_bos, dtype=np.float64)) if past_bos else np.zeros((0, len(mine.base)))
        )
        sizes[~np.isfinite(sizes)] = 0
        scale = np.stack([(sizes**p).sum(axis=0) for p in (1, 2, 3, 4)])
        assert (np.abs(sums[0] - sums[1]) <= 1e-12 * scale).all()
        for name, array in arrays.items():
            assert array.dtype == others[name].dtype, name
            assert array.tobytes() == others[name].tobytes(), name


def both(documents: list[Made], of: Any) -> None:
    check_same(state_of(documents, of, on_device=True), state_of(documents, of), documents)


def at_one_hook(documents: list[Made]) -> list[Made]:
    return [Made(d.text, tuple((t, np.ascontiguousarray(a[:1])) for t, a in d.contexts)) for d in documents]


@pytest.mark.parametrize("d_mlp", [FLAVOURS, 131])
@pytest.mark.parametrize("seed", range(3))
def test_difficult_activations(seed, d_mlp):
    """Try NaN, infinities, both zeros, subnormals, ties, rising maxima, documents without tokens."""
    both(corpus_of(seed, 20, d_mlp=d_mlp), synthetic.settings(d_mlp, seed=seed))


@pytest.mark.parametrize("by_token", [True, False])
def test_one_hook(by_token):
    documents = at_one_hook(corpus_of(5, 20))
    both(documents, synthetic.settings(FLAVOURS, hooks=["hook_post"], by_token=by_token))


@pytest.mark.parametrize("window", [Window(0, 0), Window(20, 20)])
def test_windows_of_one_token_and_wider_than_a_context(window):
    both(corpus_of(6, 12), synthetic.settings(FLAVOURS, window=window, sample_window=window))


@pytest.mark.parametrize("documents", [[], [made("nothing", [])]])
def test_nothing(documents):
    both(documents, synthetic.settings(FLAVOURS))


def test_contexts_of_a_bos_alone_and_of_one_token():
    rng = np.random.default_rng(0)
    documents = [
        made(f"{n}", [synthetic.activations(rng, length, FLAVOURS) for length in (1, 2, 1, 2)], seed=n)
        for n in range(8)
    ]
    both(documents, synthetic.settings(FLAVOURS))


def test_maxima_that_rise_within_a_context_and_from_one_to_the_next():
    """Raise maxima by one bin, by tens of bins and past the histogram's end."""
    rng = np.random.default_rng(0)
    growth = np.array([1.01, 1.12, 1.5, 4.0, 100.0])
    documents = []
    for n in range(6):
        steps = (8 * n + np.arange(8))[:, None] + rng.random((2, 8, 5))
        documents.append(made(f"{n}", [np.clip(1e-6 * growth**steps, 0, 1e38)], seed=n))
    state = state_of(documents, synthetic.settings(5, range_samples=3))
    assert (np.diff(state.layers[0][0].base) >= 0).all()
    both(documents, synthetic.settings(5, range_samples=3))


def test_long_contexts_and_many_of_them():
    """Let limits fall until few tokens pass, and sum odd numbers of tokens."""
    rng = np.random.default_rng(1)
    documents = [
        made(
            f"{n}",
            [rng.standard_normal((2, int(length), 33)) ** 3 for length in rng.integers(60, 99, 3)],
            seed=n,
        )
        for n in range(12)
    ]
    both(documents, synthetic.settings(33, n_ctx=99))


def test_blocks_of_neurons_whole_and_in_part():
    """Ignore the places of an incomplete block that belong to no neuron."""
    rng = np.random.default_rng(3)
    documents = [
        made(f"{n}", [rng.standard_normal((2, 70, 600)) ** 3 for _ in range(2)], seed=n) for n in range(3)
    ]
    both(documents, synthetic.settings(600, n_ctx=70))


def test_little_at_a_time(monkeypatch):
    """Process little at a time: the result is the same, and no fetch is larger than allowed."""
    documents, of = corpus_of(2, 16, d_mlp=20), synthetic.settings(20)
    expected = state_of(documents, of)
    sizes = []
    fetch = DeviceAccumulator._fetch

    def watched(self: DeviceAccumulator, acts: Any, at: torch.Tensor, *rest: Any) -> Any:
        sizes.append(len(at))
        return fetch(self, acts, at, *rest)

    monkeypatch.setattr(DeviceAccumulator, "_fetch", watched)
    monkeypatch.setattr(accumulator, "_ACTS_AT_ONCE", 17)
    monkeypatch.setattr(accumulator, "_WINDOWS_AT_ONCE", 6)
    monkeypatch.setattr(accumulator, "_TOTALS_AT_ONCE", 50)
    found = state_of(documents, of, on_device=True)
    assert max(sizes) == 6
    check_same(found, expected, documents)


@pytest.mark.parametrize("seed", range(3))
def test_halves_merged_are_one_pass(tmp_path, seed):
    """Compare all bytes for two orders, a merge, and a pass that resumes from a saved state."""
    documents, of = corpus_of(seed, 16), synthetic.settings(FLAVOURS)
    whole = saved(state_of(documents, of, on_device=True), tmp_path)
    assert saved(state_of(documents[::-1], of, on_device=True), tmp_path) == whole
    halves = [documents[:7], documents[7:]]
    states = [state_of(half, of, part=CorpusPart(k, 2), on_device=True) for k, half in enumerate(halves)]
    states[1].merge(through_disk(states[0], tmp_path))
    assert saved(states[1], tmp_path) == whole
    begun = through_disk(state_of(halves[0], of, on_device=True), tmp_path)
    assert saved(state_of(halves[1], of, on_device=True, state=begun), tmp_path) == whole


def test_settling_in_between_counts_nothing_twice():
    documents, of = corpus_of(4, 10), synthetic.settings(FLAVOURS)
    state = BuildState.empty(of)
    accumulator = DeviceAccumulator(
        LayerStatistics(state.layers[0], seed=0, layer=0, options=of.statistics_options), V, "cpu"
    )
    for document in documents:
        start = 0
        for tokens, acts in document.contexts:
            row = prepare_context(document.text.id, start, tokens)
            accumulator.add(row, torch.from_numpy(acts), state.source_row(document.text.provenance.source))
            start += len(tokens) - 1
            accumulator.flush()
        accumulator.end_document()
    accumulator.flush()
    check_same(state, state_of(documents, of), documents)


def one_layer(m: int = 3, **keep: Any) -> LayerStatistics:
    of = StatisticsOptions(
        **{"top_k": 1, "range_samples": 1, "window": Window(1, 1), "sample_window": Window(1, 1)} | keep
    )
    hooks = [HookStatistics.empty(m, 2, V, of) for _ in range(2)]
    return LayerStatistics(hooks, seed=0, layer=0, options=of)


def test_a_context_of_which_nothing_enters_is_waited_for_once(monkeypatch):
    rng = np.random.default_rng(0)
    accumulator = DeviceAccumulator(one_layer(), V, "cpu")
    waits = 0
    cpu = torch.Tensor.cpu

    def counted(self: torch.Tensor) -> torch.Tensor:
        nonlocal waits
        waits += 1
        return cpu(self)

    monkeypatch.setattr(torch.Tensor, "cpu", counted)
    found = []
    for document in range(300):
        waits = 0
        acts = torch.from_numpy(rng.standard_normal((2, 5, 3)).astype(np.float32))
        accumulator.add(prepare_context(document, 0, rng.integers(0, V, 5)), acts, -1)
        accumulator.end_document()
        found.append(waits)
    assert found[0] > 1
    assert found[-100:].count(1) > 50


def test_activations_of_another_shape_are_refused():
    accumulator = DeviceAccumulator(one_layer(), V, "cpu")
    context = prepare_context(0, 0, np.zeros(4, np.int64))
    for shape in ((1, 4, 3), (2, 5, 3), (2, 4, 2)):
        with pytest.raises(ValueError, match="expected activations of shape"):
            accumulator.add(context, torch.zeros(shape), 0)


@pytest.mark.parametrize("another", [CpuAccumulator, lambda layer, v: DeviceAccumulator(layer, v, "cpu")])
def test_a_layer_on_a_device_has_one_reader(another):
    layer = one_layer()
    DeviceAccumulator(layer, V, "cpu")
    with pytest.raises(AssertionError):
        another(layer, V)


def test_bins_are_the_definition():
    edges = bin_edges().astype(np.float32)
    edges = edges[np.isfinite(edges)]
    near = [np.nextafter(edges, np.float32(to)) for to in (-np.inf, np.inf)]
    odd = np.array([0.0, -0.0, 1e-45, -1e-45, 1e-38, 3e38, -3e38], dtype=np.float32)
    values = np.concatenate([edges, *near, odd])
    np.testing.assert_array_equal(arithmetic.bins(torch.from_numpy(values)).numpy(), bin_index(values))
    odd = torch.tensor([torch.nan, -torch.nan, torch.inf, -torch.inf])
    assert arithmetic.bins(odd).tolist() == [N_BINS, N_BINS, N_BINS + 1, N_BINS + 1]


def test_priorities_are_the_definition():
    tokens, neurons = token_hashes(3, np.arange(300)), neuron_keys(1, 2, 70)
    halves = [torch.from_numpy((x >> np.uint64(32)).astype(np.int64)) for x in (tokens, neurons)]
    found = arithmetic.priority_half(halves[0][:, None], halves[1])
    expected = priority(tokens[:, None], neurons[None]) >> np.uint64(32)
    np.testing.assert_array_equal(found.numpy(), expected.astype(np.int64))


def test_a_priority_at_its_limit_passes_and_odd_values_never_do():
    base, limit = torch.tensor([ZERO + 1]), torch.full((1, N_LISTS + 1), 7)
    limit[0, -1] = 2**32 - 1
    above = ZERO + 1 + N_TRACKED
    index = torch.tensor([0, ZERO, ZERO + 1, above - 1, above, N_BINS - 1, N_BINS, N_BINS + 1])[:, None]
    for chance, expected in ((7, [True] * 6), (8, [False] * 4 + [True] * 2)):
        found = arithmetic.may_enter(index, torch.full_like(index, chance), base, limit)
        assert found[:, 0].tolist() == [*expected, False, False]


def test_memory_on_the_device_is_what_is_said():
    of = synthetic.settings(50)
    layer = LayerStatistics(BuildState.empty(of).layers[0], seed=0, layer=0, options=of.statistics_options)
    tables = DeviceAccumulator(layer, V, "cpu")._tables
    held = sum(x.nbytes for t in tables for x in (t.counts, t.totals, t.limit, t.base))
    assert held <= device_memory(of) - accumulator._WORK_BYTES <= 1.01 * held


def test_a_gpu_without_room_is_said_before_anything_is_read(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (1000, 2000))
    engine = SimpleNamespace(device="cuda:0", options=Options())
    with pytest.raises(CacheError, match=r"take 1\.1 GB of the GPU\'s memory, but 0\.0 GB are free"):
        DocumentWorkers(engine, BuildState.empty(synthetic.settings(3)))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def engine(tiny_model: Path) -> Engine:
    return Engine(tiny_model, Options(device="cpu", n_threads=2, batch_size=3))


def read(
    engine: Engine, corpus: Path, folder: Path, *, on_device: bool, interrupted: bool = False
) -> BuildState:
    """Return the state of a corpus; if interrupted, it is saved and loaded again in between."""
    of = Corpus([corpus])
    state = BuildState.empty(engine.settings)
    state.claim(of.names, of.part)
    workers = DocumentWorkers(engine, state, on_device=on_device)
    for n, text in enumerate(of.documents(engine.tokenization)):
        if interrupted and n in (0, 9, 17):
            workers.flush()
            workers.close()
            state = through_disk(state, folder)
            workers = DocumentWorkers(engine, state, on_device=on_device)
        elif n == 5:  # a pause alone
            workers.flush()
        workers.submit(text)
    workers.flush()
    workers.close()
    return state


def test_a_cache_is_the_same_through_both_loops(engine, corpus, tmp_path):
    """Compare the bytes of all files, after the sums, which may differ in last bits, are made equal."""
    states = [read(engine, corpus, tmp_path, on_device=on_device) for on_device in (True, False)]
    for layer, hooks in states[0].layers.items():
        for mine, theirs in zip(hooks, states[1].layers[layer], strict=True):
            mine.canonicalize()
            theirs.canonicalize()
            sums = [to_float(x.power_sums) for x in (mine, theirs)]
            np.testing.assert_allclose(sums[0][1::2], sums[1][1::2], rtol=1e-12)
            assert np.abs(mine.source_mass - theirs.source_mass).max() <= 200
            # Everything else must be the same to the byte.
            mine.power_sums, mine.source_mass = theirs.power_sums, theirs.source_mass
    for name, state in zip(("device", "compiled"), states, strict=True):
        write_complete_state(state, engine.tokenizer, tmp_path / name)
    assert bytes_of(tmp_path / "device") == bytes_of(tmp_path / "compiled")


def test_an_interrupted_build_on_a_device_goes_on_to_the_same_bytes(engine, corpus, tmp_path):
    whole = saved(read(engine, corpus, tmp_path, on_device=True), tmp_path)
    assert saved(read(engine, corpus, tmp_path, on_device=True, interrupted=True), tmp_path) == whole
