"""The compiled accumulators against numpy, and the law: any split, any order, the same result."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.accumulate import LayerAccumulator
from cache.batch import Batch
from cache.histogram import N_BINS, bin_index

M, K, WINDOW = 5, 3, (2, 1)


def corpus(seed: int, n_contexts: int = 24, *, ties: bool = False) -> Batch:
    """Contexts of several lengths from ten documents, two hooks; few distinct values where `ties`."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(2, 9, n_contexts)
    acts = rng.standard_normal((2, n_contexts, 8, M)).astype(np.float32)
    if ties:
        acts = np.round(acts)
    documents = np.sort(rng.integers(0, 10, n_contexts))
    starts = np.zeros(n_contexts, dtype=np.int64)
    for row in range(1, n_contexts):
        if documents[row] == documents[row - 1]:
            starts[row] = starts[row - 1] + lengths[row - 1] - 1
    tokens = rng.integers(0, 100, (n_contexts, 8)).astype(np.int32)
    return Batch(documents, starts, lengths, tokens, acts)


def part(batch: Batch, rows: list[int]) -> Batch:
    return Batch(
        batch.documents[rows], batch.starts[rows], batch.lengths[rows], batch.tokens[rows],
        np.ascontiguousarray(batch.acts[:, rows]),
    )  # fmt: skip


def accumulator(*batches: Batch, n_threads: int = 1) -> LayerAccumulator:
    result = LayerAccumulator(M, 2, top_k=K, window=WINDOW, n_threads=n_threads)
    for batch in batches:
        result.update(batch)
    return result


def assert_same(a: LayerAccumulator, b: LayerAccumulator) -> None:
    for left, right in zip(a.hooks, b.hooks, strict=True):
        np.testing.assert_array_equal(left.counts, right.counts)
        np.testing.assert_array_equal(left.extremes, right.extremes)
        np.testing.assert_array_equal(left.odd, right.odd)
        np.testing.assert_allclose(left.power_sums, right.power_sums, rtol=1e-12, atol=1e-12)
        kept = left.top.document >= 0
        np.testing.assert_array_equal(kept, right.top.document >= 0)
        for name in ("value", "document", "position", "context_start", "peak", "length"):
            np.testing.assert_array_equal(getattr(left.top, name)[kept], getattr(right.top, name)[kept], name)
        inside = kept[..., None] & (np.arange(left.top.window.shape[2]) < left.top.length[..., None])
        np.testing.assert_array_equal(left.top.window[inside], right.top.window[inside])
        np.testing.assert_array_equal(left.top.levels[:, inside], right.top.levels[:, inside])


def brute_top(batch: Batch, hook: int, neuron: int) -> list[tuple[float, int, int]]:
    best: dict[int, tuple[float, int]] = {}
    for row in range(len(batch.lengths)):
        document = int(batch.documents[row])
        for t in range(1, batch.lengths[row]):
            candidate = (float(batch.acts[hook, row, t, neuron]), -int(batch.starts[row] + t - 1))
            best[document] = max(best.get(document, (-np.inf, 0)), candidate)
    ranked = sorted(((v, -d, p) for d, (v, p) in best.items()), reverse=True)[:K]
    return [(v, -d, -p) for v, d, p in ranked]


@pytest.mark.parametrize("ties", [False, True])
def test_against_brute_force(ties):
    batch = corpus(1, ties=ties)
    result = accumulator(batch, n_threads=3)
    past_bos = (np.arange(8) >= 1) & (np.arange(8) < batch.lengths[:, None])
    for h, hook in enumerate(result.hooks):
        for j in range(M):
            x = batch.acts[h, ..., j][past_bos]
            np.testing.assert_array_equal(hook.counts[j], np.bincount(bin_index(x), minlength=N_BINS))
            assert tuple(hook.extremes[j]) == (x.min(), x.max())
            np.testing.assert_allclose(
                hook.power_sums[j], [(x.astype(float) ** p).sum() for p in (1, 2, 3, 4)]
            )
            top = hook.top
            kept = list(
                zip(top.value[j].tolist(), top.document[j].tolist(), top.position[j].tolist(), strict=True)
            )
            assert kept == brute_top(batch, h, j)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 50), st.data(), st.booleans())
def test_any_split_in_any_order_is_one_pass(seed, data, ties):
    batch = corpus(seed, ties=ties)
    order = data.draw(st.permutations(range(24)))
    cuts = sorted(data.draw(st.lists(st.integers(0, 24), max_size=3)))
    parts = [part(batch, order[a:b]) for a, b in zip([0, *cuts], [*cuts, 24], strict=True) if a < b]
    whole = accumulator(batch)
    assert_same(whole, accumulator(*parts))
    pieces = [accumulator(p) for p in parts]
    pieces = data.draw(st.permutations(pieces))
    merged = pieces[0]
    for piece in pieces[1:]:
        merged.merge(piece)
    assert_same(whole, merged)


def test_nan_and_infinity_are_counted_and_left_out():
    batch = corpus(3)
    batch.acts[0, :, :, 2] = np.nan
    batch.acts[0, 0, 1, 3] = np.inf
    batch.acts[0, 1, 1, 3] = -np.inf
    result = accumulator(batch).hooks[0]
    n_tokens = int((batch.lengths - 1).sum())
    assert result.odd[2].tolist() == [n_tokens, 0]
    assert result.odd[3].tolist() == [0, 2]
    assert result.counts[2].sum() == 0
    assert (result.top.document[2] == -1).all()
    assert np.isfinite(result.power_sums).all()
    assert np.isfinite(result.top.value[3][result.top.document[3] >= 0]).all()


def test_a_batch_of_another_shape_is_refused():
    batch = corpus(0)
    wrong = Batch(batch.documents, batch.starts, batch.lengths, batch.tokens, batch.acts[:1])
    with pytest.raises(ValueError, match="expected activations of shape"):
        accumulator(wrong)
