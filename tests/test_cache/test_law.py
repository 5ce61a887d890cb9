"""The law: the same bytes however a corpus is split, ordered and merged."""

import math
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.building.build import build_cache, build_shard, write_complete_state
from cache.building.engine import Options
from cache.shards.corpus import ContextSample, CorpusPart
from cache.shards.shard_file import load_state, save_state
from cache.shards.state import BuildState, merged
from cache.statistics import exact_sum, example_lists
from cache.statistics.example_lists import ExampleLists, Window
from cache.writing.cache_folder import write_cache
from solu_model.loading.checkpoints import load_tokenizer
from tests.test_cache import synthetic
from tests.test_cache.synthetic import Made, corpus_of, made, state_of

EXAMPLES = settings(max_examples=40, deadline=None)


def bytes_of(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file of a folder, by name."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def saved(state: BuildState, folder: Path) -> bytes:
    """Return the bytes of the file of a state."""
    save_state(state, folder / "state")
    return (folder / "state").read_bytes()


def through_disk(state: BuildState, folder: Path) -> BuildState:
    save_state(state, folder / "part")
    return load_state(folder / "part")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("law")


@EXAMPLES
@given(data=st.data(), seed=st.integers(0, 2**32), n_documents=st.integers(0, 14), n=st.integers(1, 5))
def test_any_split_order_and_tree_give_the_same_bytes(folder, data, seed, n_documents, n):
    documents = corpus_of(seed, n_documents)
    made_of = synthetic.settings(synthetic.FLAVOURS)
    whole = state_of(documents, made_of)
    expected = saved(whole, folder)
    write_cache(folder / "whole", whole, [b"x"] * synthetic.V)
    by_name = data.draw(st.booleans(), label="split by name")
    parts: list[list[Made]] = [[] for _ in range(n)]
    for document in data.draw(st.permutations(documents), label="order"):
        k = document.text.id % n if by_name else data.draw(st.integers(0, n - 1), label="part")
        parts[k].append(document)
    states = [state_of(part, made_of, part=CorpusPart(k, n)) for k, part in enumerate(parts)]
    while len(states) > 1:
        states = data.draw(st.permutations(states), label="merged")
        states[-1].merge(states.pop(0))
        if data.draw(st.booleans(), label="through a file"):
            states[-1] = through_disk(states[-1], folder)
    assert saved(states[0], folder) == expected
    write_cache(folder / "merged", states[0], [b"x"] * synthetic.V)
    assert bytes_of(folder / "merged") == bytes_of(folder / "whole")


@pytest.mark.parametrize("seed", range(4))
def test_any_number_of_threads_gives_the_same_bytes(tmp_path, seed):
    # Above 128 neurons a layer has several slices, which threads lock in turn.
    documents = corpus_of(seed, 12, d_mlp=300)
    made_of = synthetic.settings(300)
    one = saved(state_of(documents, made_of), tmp_path)
    for n_threads in (2, 5):
        random.Random(seed).shuffle(documents)
        assert saved(state_of(documents, made_of, n_threads=n_threads), tmp_path) == one


@pytest.mark.parametrize("n_sources", [255, 256, 257, 300])
def test_more_sources_than_are_kept_are_dropped_in_any_order(tmp_path, n_sources):
    rng = np.random.default_rng(0)
    acts = [rng.standard_normal((2, 3, 2)).astype(np.float32) for _ in range(n_sources)]
    documents = [made(str(n), [a], source=f"{n:03}") for n, a in enumerate(acts)]
    made_of = synthetic.settings(2)
    whole = state_of(documents, made_of)
    assert (whole.sources is None) == (n_sources > 256)
    expected = saved(whole, tmp_path)
    for cut in (1, n_sources // 2, n_sources - 1):
        states = [state_of(documents[:cut], made_of, part=CorpusPart(1, 2))]
        states.append(state_of(documents[cut:][::-1], made_of, part=CorpusPart(0, 2)))
        assert saved(merged(states), tmp_path) == expected
        states = [
            state_of(part, made_of, part=CorpusPart(k, 2))
            for k, part in enumerate((documents[cut:], documents[:cut]))
        ]
        assert saved(merged(states), tmp_path) == expected


def test_merging_goes_on_where_a_state_was_interrupted(tmp_path):
    documents = corpus_of(7, 20)
    made_of = synthetic.settings(synthetic.FLAVOURS)
    rest = through_disk(state_of(documents[:9], made_of, part=CorpusPart(0, 2)), tmp_path)
    rest.merge(state_of(documents[9:], made_of, part=CorpusPart(1, 2)))
    assert saved(rest, tmp_path) == saved(state_of(documents, made_of), tmp_path)


# The same for exact sums, lists of examples and samples of contexts.

terms = st.floats(min_value=-(2.0**520), max_value=2.0**520).filter(lambda x: x == 0 or abs(x) >= 2.0**-600)


@given(st.lists(terms, max_size=40), st.randoms())
def test_exact_sums_are_exact_and_know_no_order(values: list[float], chance: random.Random):
    def summed(terms: Sequence[float]) -> np.ndarray:
        sums = exact_sum.empty(1, 1)
        for first in range(0, len(terms), 3):  # several are added at once
            exact_sum.add(sums, np.array(terms[first : first + 3])[:, None, None])
        return exact_sum.carried(sums)

    sums = summed(values)
    digits = [int(d) for d in sums[0, 0]]
    truth = sum((Fraction(v) for v in values), Fraction(0))
    assert sum(d * Fraction(2) ** (32 * i - 672) for i, d in enumerate(digits)) == truth
    total = float(exact_sum.to_float(sums)[0, 0])
    assert total == pytest.approx(math.fsum(values), rel=4 * 2.0**-52, abs=0)
    shuffled = chance.sample(values, len(values))
    at = chance.randint(0, len(values))
    assert summed(shuffled).tobytes() == sums.tobytes()
    both = exact_sum.carried(summed(shuffled[:at]) + summed(shuffled[at:]))
    assert both.tobytes() == sums.tobytes()


offers = st.lists(
    st.tuples(st.integers(0, 6), st.integers(0, 5), st.integers(0, 3), st.integers(0, 3)), max_size=12
)


def lists_of(offered: Sequence[tuple[int, int, int, int]], k: int = 3) -> ExampleLists:
    """Return one list with the k best of (score, key, document, position), one of each key."""
    best: dict[int, tuple[int, int, int]] = {}
    for score, key, document, position in offered:
        candidate = (score, document, position)
        best[key] = min(best.get(key, candidate), candidate)
    ranked = sorted((*candidate, key) for key, candidate in best.items())[:k]
    lists = example_lists.empty(1, k, Window(1, 0), 1, 10)
    for slot, (score, document, position, key) in enumerate(ranked):
        lists.score[0, slot], lists.key[0, slot] = score, key
        lists.document[0, slot], lists.position[0, slot] = document, position
        lists.length[0, slot] = 1
        lists.tokens[0, slot, 0] = position
    return lists


def flat(lists: ExampleLists) -> bytes:
    return b"".join(a.tobytes() for a in example_lists.canonical(lists, lists.k))


@given(offers, offers, offers)
def test_merging_lists_is_associative_commutative_and_idempotent(a, b, c):
    # A token of a document has one score and one key.
    everything = {(d, p): (s, key, d, p) for s, key, d, p in (*a, *b, *c)}
    a, b, c = ([everything[d, p] for _, _, d, p in part] for part in (a, b, c))
    whole = flat(lists_of([*a, *b, *c]))
    la, lb, lc = lists_of(a), lists_of(b), lists_of(c)
    assert flat(example_lists.merge(example_lists.merge(la, lb), lc)) == whole
    assert flat(example_lists.merge(la, example_lists.merge(lb, lc))) == whole
    assert flat(example_lists.merge(example_lists.merge(lc, la), lb)) == whole
    assert flat(example_lists.merge(la, la)) == flat(la)


@given(
    st.lists(
        st.tuples(st.integers(0, 50), st.integers(0, 2), st.integers(1, 9)),
        max_size=30,
        unique_by=lambda c: c[:2],
    ),
    st.integers(0, 60),
    st.randoms(),
)
def test_a_sample_of_contexts_knows_no_order_or_split(contexts, n_tokens, chance):
    def sampled(offered: Sequence[tuple[int, int, int]]) -> ContextSample:
        sample = ContextSample(n_tokens, 3)
        for document, start, length in offered:
            sample.offer(document, start, np.arange(length))
        return sample

    everything = ContextSample(10**9, 3)
    for document, start, length in contexts:
        everything.offer(document, start, np.arange(length))
    expected, held = [], 0
    for context in everything.contexts:  # by priority, up to the first that does not fit
        held += len(context[3]) // 4
        if held > n_tokens:
            break
        expected.append(context)
    whole = sampled(contexts)
    assert whole.contexts == expected
    shuffled = chance.sample(contexts, len(contexts))
    at = chance.randint(0, len(contexts))
    left, right = sampled(shuffled[:at]), sampled(shuffled[at:])
    left.merge(right)
    assert (left.contexts, left.ceiling) == (whole.contexts, whole.ceiling)
    left.merge(right)
    assert (left.contexts, left.ceiling) == (whole.contexts, whole.ceiling)


# The same for builds with a model.


@pytest.fixture(scope="module")
def whole(
    tiny_checkpoint: Path, corpus: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, bytes], bytes]:
    """Bytes of the cache and of the state of a build in one pass of one thread."""
    folder = tmp_path_factory.mktemp("whole")
    build_shard(
        tiny_checkpoint, [corpus], folder / "state", CorpusPart(), Options(n_threads=1), progress=False
    )
    build_cache(tiny_checkpoint, [corpus], folder / "cache", Options(n_threads=1), progress=False)
    return bytes_of(folder / "cache"), (folder / "state").read_bytes()


@pytest.mark.parametrize(
    "options", [Options(n_threads=3), Options(batch_size=4), Options(n_threads=2, save_every=0)]
)
def test_threads_batches_and_saving_leave_no_trace(tiny_checkpoint, corpus, whole, tmp_path, options):
    build_cache(tiny_checkpoint, [corpus], tmp_path / "cache", options, progress=False)
    assert bytes_of(tmp_path / "cache") == whole[0]


@pytest.mark.parametrize("n", [2, 3, 7])
def test_shards_of_a_real_build_merge_to_the_same_bytes(tiny_checkpoint, corpus, whole, tmp_path, n):
    for k in range(n):
        options = Options(n_threads=1 + k % 2)
        build_shard(tiny_checkpoint, [corpus], tmp_path / str(k), CorpusPart(k, n), options, progress=False)
    order = random.Random(n).sample(range(n), n)
    left = merged(load_state(tmp_path / str(k)) for k in order[: n // 2])
    state = merged(load_state(tmp_path / str(k)) for k in order[n // 2 :])
    state.merge(left)
    assert saved(state, tmp_path) == whole[1]
    write_complete_state(state, load_tokenizer(tiny_checkpoint), tmp_path / "cache")
    assert bytes_of(tmp_path / "cache") == whole[0]


def test_the_order_of_files_leaves_no_trace(tiny_checkpoint, tmp_path):
    for n in range(12):
        (tmp_path / f"{n}.txt").write_text(f"the {n}th text of all, " * (1 + n), encoding="utf-8")
    files = [tmp_path / f"{n}.txt" for n in range(12)]
    for name, order in (("a", files), ("b", files[::-1])):
        build_cache(tiny_checkpoint, order, tmp_path / name, progress=False)
    assert bytes_of(tmp_path / "a") == bytes_of(tmp_path / "b")


KILLS = 2


def test_a_build_killed_at_any_moment_is_resumed_to_the_same_bytes(tiny_checkpoint, corpus, whole, tmp_path):
    out = tmp_path / "cache"
    state = tmp_path / "cache.state"
    arguments = ["cache", "build", "--model", tiny_checkpoint, "--data", corpus, "--out", out]
    program = "from dashboard.cli import main; main()"
    command = [sys.executable, "-c", program, *map(str, arguments), "--save-every", "0"]
    chance, n_killed, before = random.Random(5), 0, 0
    while True:
        running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        if n_killed < KILLS:
            while running.poll() is None and (not state.exists() or state.stat().st_mtime_ns == before):
                time.sleep(0.001)
            time.sleep(chance.uniform(0, 0.3))
            if running.poll() is None:
                os.kill(running.pid, signal.SIGKILL)
        _, errors = running.communicate()
        if running.returncode == 0:
            break
        assert running.returncode == -signal.SIGKILL, errors.decode()
        assert not out.exists()
        n_killed, before = n_killed + 1, state.stat().st_mtime_ns
    assert n_killed > 0
    assert bytes_of(out) == whole[0]
    assert not state.exists()
