"""`solu cache verify` finds and names every problem, and reports none where there is none."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from cache.building.build import build_shard, write_complete_state
from cache.building.engine import Options
from cache.checking.verify import cache_problems, shard_problems
from cache.commands import app
from cache.format.schema import CacheError
from cache.shards.corpus import CorpusPart
from cache.shards.shard_file import load_state, save_state
from cache.shards.state import merged
from cache.storage.checksums import damaged_files, write_checksums
from cache.writing.cache_folder import write_cache
from solu_model.loading.checkpoints import load_tokenizer
from solu_model.text.tokenizer import train_tokenizer
from tests.test_cache import synthetic
from tests.test_cache.synthetic import corpus_of, state_of

GOLDEN_V1 = Path(__file__).parents[2] / "golden/cache_v1"


@pytest.fixture
def copy(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model / "neurons", tmp_path / "neurons"))


@pytest.fixture(scope="module")
def shards(tiny_checkpoint: Path, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("shards")
    files = [folder / f"{k}" for k in range(3)]
    for k, file in enumerate(files):
        build_shard(tiny_checkpoint, [corpus], file, CorpusPart(k, 3), Options(n_threads=1), progress=False)
    return files


def rewritten(file: Path, **columns: object) -> None:
    """Change columns of a Parquet file."""
    table = pq.read_table(file)
    for name, values in columns.items():
        at = table.schema.get_field_index(name)
        table = table.set_column(at, name, pa.array(values, table.schema.field(name).type))
    pq.write_table(table, file)


def test_a_whole_cache_has_no_problem(tiny_model, corpus):
    assert list(cache_problems(tiny_model / "neurons", model=tiny_model, data=[corpus])) == []


def test_a_cache_of_difficult_activations_has_no_problem(tmp_path):
    state = state_of(corpus_of(3, 30), synthetic.settings(synthetic.FLAVOURS))
    write_cache(tmp_path / "cache", state, [b"x"] * synthetic.V)
    assert list(cache_problems(tmp_path / "cache")) == []


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_changed_byte_is_found_in_any_file(copy, data):
    files = sorted(p for p in copy.rglob("*") if p.is_file())
    file = data.draw(st.sampled_from(files), label="file")
    before = file.read_bytes()
    at = data.draw(st.integers(0, len(before) - 1), label="byte")
    flipped = before[at] ^ data.draw(st.integers(1, 255), label="bits")
    file.write_bytes(before[:at] + bytes([flipped]) + before[at + 1 :])
    assert list(damaged_files(copy)) != []
    file.write_bytes(before)
    assert list(damaged_files(copy)) == []


def test_every_byte_of_the_checksums_matters(copy):
    listing = (copy / "checksums.sha256").read_bytes()
    for at in range(0, len(listing), 7):
        for bit in range(8):
            changed = listing[:at] + bytes([listing[at] ^ 1 << bit]) + listing[at + 1 :]
            (copy / "checksums.sha256").write_bytes(changed)
            assert list(damaged_files(copy)) != [], (at, bit)
    for end in (listing.index(b"\n"), len(listing) - 1):
        for other in b"\r\x0b\x0c\x1c\x85 ":
            (copy / "checksums.sha256").write_bytes(listing[:end] + bytes([other]) + listing[end + 1 :])
            assert list(damaged_files(copy)) != [], (end, other)


def test_added_missing_and_truncated_files_are_named(copy):
    (copy / "notes.txt").write_text("mine")
    (copy / "sample.parquet").unlink()
    (copy / "profiles/0000/00000.parquet").write_bytes(b"")
    found = "\n".join(damaged_files(copy))
    assert "notes.txt is not listed" in found
    assert "sample.parquet is missing" in found
    assert "profiles/0000/00000.parquet has changed since it was written" in found
    problems = "\n".join(cache_problems(copy))
    assert "lacks sample.parquet" in problems
    assert "notes.txt" in problems


def test_no_checksums_at_all(copy):
    (copy / "checksums.sha256").unlink()
    assert "checksums.sha256 cannot be read" in next(cache_problems(copy))


def test_numbers_that_do_not_fit_together_are_found(copy):
    """Find them even if the checksums were written again."""
    neurons = pq.read_table(copy / "neurons.parquet")
    count = neurons["count"].to_pylist()
    count[3] += 1
    maxima = neurons["max"].to_pylist()
    maxima[5] *= 4
    rewritten(copy / "neurons.parquet", count=count, max=maxima)
    profiles = copy / "profiles/0000/00000.parquet"
    ranges = pq.read_table(profiles)["range_count"].to_pylist()
    ranges[14][0] += 2
    mean = pq.read_table(profiles)["mean"].to_pylist()
    mean[18] += 1e-9
    rewritten(profiles, range_count=ranges, mean=mean)
    examples = copy / "examples/0000/00000.parquet"
    rank = pq.read_table(examples)["rank"].to_pylist()
    rank[1] = 7
    document = pq.read_table(examples)["document"].to_pylist()
    document[2] = 12345
    rewritten(examples, rank=rank, document=document)
    counts = pq.read_table(copy / "vocabulary.parquet")["count"].to_pylist()
    rewritten(copy / "vocabulary.parquet", count=[counts[0] + 1, *counts[1:]])
    write_checksums(copy)
    found = "\n".join(cache_problems(copy))
    for what in (
        r"tokens (neuron 3)",
        "histograms that do not sum to the count (neuron 3)",
        "a max outside the histogram's last bin (neuron 5)",
        "a strongest example at hook_mid that is not the maximum (neuron 5)",
        "ranges that do not sum to the count (neuron 7)",
        "another mean at hook_mid than neurons.parquet has (neuron 9)",
        "ranks with gaps or repeats (neuron 0)",
        "documents that documents.parquet does not have (neuron 0)",
        "vocabulary.parquet counts",
    ):
        assert what in found, what


def test_another_checkpoint_and_tokenizer_are_named(tiny_model, corpus, tmp_path):
    other = shutil.copytree(tiny_model, tmp_path / "other", ignore=shutil.ignore_patterns("neurons"))
    data = bytearray((other / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (other / "model.safetensors").write_bytes(data)
    assert "built from other weights" in "".join(cache_problems(tiny_model / "neurons", model=other))
    train_tokenizer(iter(["other text of other words " * 9, "and digits"]), 265).save_pretrained(
        tmp_path / "t"
    )
    found = list(cache_problems(tiny_model / "neurons", model=tiny_model, tokenizer=str(tmp_path / "t")))
    assert "built with another tokenizer" in found[0]
    assert "is not the vocabulary of" in found[1]


def rows(corpus: Path) -> list[dict[str, str]]:
    return pq.read_table(corpus).to_pylist()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda found: [*found, {**found[0], "text": "new"}], "one document is missing"),
        (lambda found: found[:-4], "some are counted twice, or are not in the text"),
        (lambda found: found + [{**found[0], "text": f"new {n}"} for n in range(3)], "more text is given"),
        (lambda found: [{**found[0], "text": "changed"}, *found[1:]], "the text has changed"),
    ],
)
def test_another_text_is_found(tiny_model, corpus, tmp_path, change, expected):
    pq.write_table(pa.Table.from_pylist(change(rows(corpus))), tmp_path / "own.parquet")
    (problem,) = cache_problems(tiny_model / "neurons", data=[tmp_path / "own.parquet"])
    assert expected in problem


@pytest.mark.parametrize(("counted", "verb"), [([0, 1], "missing"), ([0, 1, 2, 2], "counted twice")])
def test_a_cache_with_a_part_too_many_or_too_few_says_which(
    tiny_model, corpus, shards, tmp_path, counted, verb
):
    states = [load_state(shards[k]) for k in counted]
    for n, state in enumerate(states):  # past what merge itself refuses
        state.parts = {json.dumps([["own"], len(states)]): [n]}
    write_complete_state(merged(states), load_tokenizer(tiny_model), tmp_path / "cache")
    (problem,) = cache_problems(tmp_path / "cache", model=tiny_model, data=[corpus])
    assert f"probably part 2/3 of the text is {verb}" in problem


def test_whole_shards_have_no_problem(shards, tiny_checkpoint, corpus):
    assert list(shard_problems(shards, model=tiny_checkpoint, data=[corpus])) == []


def test_shards_missing_twice_or_of_other_builds_are_named(shards, tiny_checkpoint, corpus, tmp_path):
    (missing,) = shard_problems(shards[:2])
    assert "these parts are missing: 2/3" in missing
    twice = Path(shutil.copy(shards[1], tmp_path / "again"))
    (problem,) = shard_problems([*shards, twice])
    assert f"part 1/3 is counted twice: {shards[1]} and {twice}" in problem
    build_shard(
        tiny_checkpoint, [corpus], tmp_path / "seed", CorpusPart(2, 3), Options(seed=1), progress=False
    )
    (problem,) = shard_problems([*shards[:2], tmp_path / "seed"])
    assert "not a part of the same cache" in problem
    assert "seed: 0 and 1" in problem
    build_shard(
        tiny_checkpoint, [corpus], tmp_path / "half", CorpusPart(0, 2), Options(n_threads=1), progress=False
    )
    problems = "".join(shard_problems([*shards, tmp_path / "half"], data=[corpus]))
    assert "divided in different ways, into 3, 2 parts" in problems
    assert "probably part 0/2 of the text is counted twice" in problems


def test_every_byte_of_a_shard_matters(tmp_path):
    file = tmp_path / "shard"
    save_state(state_of(corpus_of(1, 3, d_mlp=2), synthetic.settings(2)), file)
    before = file.read_bytes()
    chance = np.random.default_rng(0)
    header = 8 + int.from_bytes(before[:8], "little")
    ends = [*range(16), *range(header - 9, header + 9), *range(len(before) - 40, len(before))]
    for at in [
        *ends,
        *chance.integers(0, header, 30).tolist(),
        *chance.integers(0, len(before), 60).tolist(),
    ]:
        with open(file, "r+b") as stream:
            stream.seek(at)
            stream.write(bytes([before[at] ^ 1 << int(chance.integers(8))]))
        with pytest.raises(CacheError, match=r"is damaged|is not a state"):
            load_state(file)
        with open(file, "r+b") as stream:
            stream.seek(at)
            stream.write(before[at : at + 1])
    for n in (0, 1, 31, 32, 33, len(before) - 1):
        file.write_bytes(before[:n])
        with pytest.raises(CacheError, match=r"is damaged|is not a state"):
            load_state(file)
    file.write_bytes(before)
    load_state(file)


def test_the_command_lists_problems_and_exits_with_1(copy, tiny_model, corpus, shards):
    run = CliRunner().invoke
    done = run(app, ["verify", str(copy), "--model", str(tiny_model), "--data", str(corpus)])
    assert (done.exit_code, done.stdout.strip().splitlines()[-1]) == (0, f"{copy} is complete and undamaged")
    done = run(app, ["verify", str(copy)])
    assert "not compared with model and tokenizer (--model) and text (--data)" in " ".join(
        done.stdout.split()
    )
    done = run(app, ["verify", *map(str, shards)])
    assert done.exit_code == 0
    assert "3 shards are complete and undamaged" in done.stdout
    (copy / "cache.json").write_bytes((copy / "cache.json").read_bytes() + b" ")
    (copy / "more").write_text("")
    done = run(app, ["verify", str(copy)])
    assert done.exit_code == 1
    assert "2 problems found" in done.stderr
    assert run(app, ["verify", str(shards[0])]).exit_code == 1
    assert run(app, ["verify", str(copy / "nowhere")]).exit_code == 1


def test_version_1_is_checked_as_far_as_it_can_be(tmp_path, corpus):
    assert list(cache_problems(GOLDEN_V1)) == []
    copy = Path(shutil.copytree(GOLDEN_V1, tmp_path / "v1"))
    counts = pq.read_table(copy / "neurons.parquet")["count"].to_pylist()
    rewritten(copy / "neurons.parquet", count=[counts[0] - 1, *counts[1:]])
    assert "tokens (neuron 0)" in next(cache_problems(copy))
    (copy / "examples.parquet").write_bytes(b"PAR1")
    assert "examples.parquet is damaged" in "".join(cache_problems(copy))
