"""Nothing but a cache is replaced by a cache, and nothing but the same shard by a shard: refused at once."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from typer.testing import CliRunner

from cache.building.build import build_cache, build_shard
from cache.building.engine import Options
from cache.building.ray_engine import build_on_ray
from cache.commands import app
from cache.format.schema import CacheError
from cache.shards.corpus import CorpusPart
from cache.storage.targets import check_cache_target, check_shard_target
from cache.writing.trim import Sizes, trim
from solu_model.targets import TargetError


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[fsspec.AbstractFileSystem]:
    """The empty in-memory store of this process."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    store = fsspec.filesystem("memory")
    yield store
    store.rm("/", recursive=True)


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make it an error to load a model or a shard."""

    def work(*_: object, **__: object) -> None:
        raise AssertionError("worked before the check")

    monkeypatch.setattr("cache.building.build.Engine", work)
    monkeypatch.setattr("cache.shards.shard_file.load_merged", work)
    monkeypatch.setattr("cache.building.ray_engine.import_ray", work)


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path, corpus: Path) -> Path:
    """Part 0 of 2 of a build."""
    file = tmp_path_factory.mktemp("shards") / "part-0"
    build_shard(tiny_checkpoint, [corpus], file, CorpusPart(0, 2), progress=False)
    return file


@pytest.mark.parametrize("name", ["notes.txt", "folder", "config"])
def test_something_else_is_refused_by_every_command_and_stays(
    no_work: None, tiny_checkpoint: Path, corpus: Path, tmp_path: Path, name: str
) -> None:
    out = tmp_path / name
    file = out if name == "notes.txt" else out / ("cache.json" if name == "config" else "notes.txt")
    file.parent.mkdir(exist_ok=True)
    file.write_text('{"cache": "of another program"}')
    same = ["--model", str(tiny_checkpoint), "--data", str(corpus), "--out", str(out)]
    for command in (
        ["build", *same],
        ["build", *same, "--shard", "0/2"],
        ["build", *same, "--engine", "ray"],
    ):
        run = CliRunner().invoke(app, command)
        assert isinstance(run.exception, CacheError), run.output
        assert "it would be replaced. Give another place" in str(run.exception)
    run = CliRunner().invoke(app, ["merge", "part-0", "--model", str(tiny_checkpoint), "--out", str(out)])
    assert "holds no neuron cache" in str(run.exception)
    with pytest.raises(CacheError, match="holds no neuron cache"):
        build_on_ray(tiny_checkpoint, [corpus], out)
    assert file.read_text() == '{"cache": "of another program"}'


def test_a_report_of_progress_replaces_nothing_else(
    no_work: None, tiny_checkpoint: Path, corpus: Path, tmp_path: Path
) -> None:
    report = tmp_path / "notes.txt"
    report.write_text("mine")
    same = ["--model", str(tiny_checkpoint), "--data", str(corpus), "--out", str(tmp_path / "cache")]
    run = CliRunner().invoke(app, ["build", *same, "--progress-file", str(report)])
    assert isinstance(run.exception, TargetError)
    assert report.read_text() == "mine"


def test_a_damaged_cache_may_be_built_again(tiny_model: Path, tmp_path: Path) -> None:
    cache = Path(shutil.copytree(tiny_model / "neurons", tmp_path / "cache"))
    (cache / "checksums.sha256").unlink()
    check_cache_target(cache)
    shutil.copy(tiny_model / "neurons" / "checksums.sha256", cache)
    (cache / "cache.json").write_text("{")
    check_cache_target(cache)
    (cache / "checksums.sha256").unlink()
    with pytest.raises(CacheError, match="holds no neuron cache"):
        trim(tiny_model / "neurons", cache, Sizes(), progress=False)


def test_a_shard_replaces_the_same_shard_alone(
    shard: Path, tiny_checkpoint: Path, corpus: Path, tmp_path: Path
) -> None:
    out = tmp_path / "part"
    shutil.copy(shard, out)
    build_shard(tiny_checkpoint, [corpus], out, CorpusPart(0, 2), progress=False)
    assert out.read_bytes() == shard.read_bytes()
    for part, options, said in [
        (CorpusPart(1, 2), Options(), r"it is not part 1/2 of \S+own.parquet"),
        (CorpusPart(0, 3), Options(), "it is not part 0/3"),
        (CorpusPart(0, 2), Options(top_k=3), "top_k: 20 and 3"),
    ]:
        with pytest.raises(CacheError, match=f"holds another shard, which would be replaced .*{said}"):
            build_shard(tiny_checkpoint, [corpus], out, part, options, progress=False)
    assert out.read_bytes() == shard.read_bytes()
    with pytest.raises(CacheError, match="holds no neuron cache"):
        build_cache(tiny_checkpoint, [corpus], out, progress=False)


def test_in_a_store_nothing_else_is_replaced_either(store: fsspec.AbstractFileSystem, shard: Path) -> None:
    url = "memory://bucket/"
    store.pipe({"/bucket/notes.txt": b"mine", "/bucket/folder/notes.txt": b"mine"})
    store.pipe({"/bucket/part": shard.read_bytes(), "/bucket/short": b"\x05"})
    store.pipe({"/bucket/cache/cache.json": b"{}", "/bucket/cache/neurons.parquet": b""})
    store.pipe({"/bucket/interrupted/neurons.parquet": b"", "/bucket/interrupted/examples/0": b""})
    for name in ("new", "cache", "interrupted"):
        check_cache_target(url + name)
    for name in ("notes.txt", "folder", "part"):
        with pytest.raises(CacheError, match="holds no neuron cache: it would be replaced"):
            check_cache_target(url + name)
    for name in ("new", "part"):
        check_shard_target(url + name)
    for name in ("notes.txt", "folder", "short", "cache"):
        with pytest.raises(CacheError, match="holds no shard of a cache: it would be replaced"):
            check_shard_target(url + name)


def test_a_header_that_claims_too_much_is_no_shard(tmp_path: Path) -> None:
    file = tmp_path / "part"
    for content in (b"", b"\xff" * 16, (2**40).to_bytes(8, "little") + b'"~sha256"', json.dumps({}).encode()):
        file.write_bytes(content)
        with pytest.raises(CacheError, match="holds no shard of a cache"):
            check_shard_target(file)
