"""Builds on a Ray cluster of two workers give the bytes of one process, even if a worker is killed."""

import os
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from threading import Event, Thread

import psutil
import pytest
import ray
from typer.testing import CliRunner

from cache.building import ray_engine
from cache.building.build import build_cache
from cache.building.engine import Options
from cache.building.ray_cluster import count_slots, task_resources
from cache.building.ray_engine import PLAN, Plan, build_on_ray
from cache.commands import app
from cache.format.schema import CacheError

SLOW = Options(save_every=0)  # a saved state a document: a shard takes long enough to be caught in its middle


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """Start a cluster of two workers on this machine."""
    how = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
    ray.init("local", num_cpus=2, object_store_memory=80_000_000, **how)
    yield
    ray.shutdown()


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def reading() -> list[psutil.Process]:
    """Return the workers that are reading a shard."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if process.cmdline()[:1] == ["ray::read_shard"]:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return found


@contextmanager
def watched(shards: Path) -> Iterator[dict[str, set[int]]]:
    """Record all times at which each file of the folder is written while the block runs."""
    times: dict[str, set[int]] = defaultdict(set)
    over = Event()

    def look() -> None:
        while not over.wait(0.002):
            for file in shards.glob("*.safetensors"):
                try:
                    times[file.name].add(file.stat().st_mtime_ns)
                except FileNotFoundError:
                    continue

    watcher = Thread(target=look)
    watcher.start()
    try:
        yield times
    finally:
        over.set()
        watcher.join()


def kill_one_in_the_middle(shards: Path) -> tuple[int, set[str]]:
    """Kill a worker in the middle of a shard; return its process id and the shards complete by then."""
    while True:
        held = reading()
        try:
            for process in held:
                process.send_signal(signal.SIGSTOP)
            begun = {f.name.removesuffix(".state") for f in shards.glob("*.safetensors.state")}
            whole = {f.name for f in shards.glob("*.safetensors")}
            # All are stopped, and each has a saved state but no shard yet.
            if held and len(begun - whole) == len(held) and len(reading()) == len(held):
                held[0].kill()
                return held[0].pid, whole
        except psutil.NoSuchProcess:
            pass
        finally:
            for process in held:
                if process.is_running():
                    process.send_signal(signal.SIGCONT)
        time.sleep(0.002)


def test_a_cluster_writes_the_bytes_of_one_process(tiny_checkpoint, tiny_model, corpus, tmp_path):
    command = ["build", "--model", str(tiny_checkpoint), "--data", str(corpus), "--engine", "ray"]
    out = ["--out", str(tmp_path / "c"), "--shards", "5"]
    done = CliRunner().invoke(app, [*command, *out], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert contents(tmp_path / "c") == contents(tiny_model / "neurons")
    assert [p.name for p in tmp_path.iterdir()] == ["c"]


@pytest.mark.parametrize("n_shards", [1, 11])
def test_one_shard_and_more_shards_than_documents(n_shards, tiny_checkpoint, corpus, tmp_path):
    options = Options(sample=0.2, range_samples=2, top_k=3)
    build_cache(tiny_checkpoint, [corpus], tmp_path / "truth", options, progress=False)
    manifest = build_on_ray(
        tiny_checkpoint, [corpus], f"file://{tmp_path}/c", options, n_shards=n_shards, progress=False
    )
    assert 0 < manifest.corpus.n_documents < 11
    assert contents(tmp_path / "c") == contents(tmp_path / "truth")


def test_a_killed_worker_costs_its_shard_alone(tiny_checkpoint, tiny_model, corpus, tmp_path):
    shards, killed = tmp_path / "c.shards", []
    killer = Thread(target=lambda: killed.append(kill_one_in_the_middle(shards)))
    with watched(shards) as times:
        killer.start()
        build_on_ray(tiny_checkpoint, [corpus], tmp_path / "c", SLOW, n_shards=4, progress=False)
        killer.join()
    ((pid, whole),) = killed
    assert not psutil.pid_exists(pid)
    assert len(whole) < 4
    assert contents(tmp_path / "c") == contents(tiny_model / "neurons")
    every_shard = {f"{k:05d}-{k + 1:05d}.safetensors" for k in range(4)}
    assert every_shard <= set(times)
    assert {name for name, seen in times.items() if len(seen) > 1} == set()


def test_a_killed_driver_goes_on(tiny_checkpoint, tiny_model, corpus, tmp_path, monkeypatch):
    shards = tmp_path / "c.shards"

    done = count(1)

    class Interrupted(ray_engine.tqdm):
        def update(self, n=1):
            if next(done) == 3:
                raise KeyboardInterrupt

    def build(options: Options = SLOW, n_shards: int | None = None) -> None:
        build_on_ray(tiny_checkpoint, [corpus], tmp_path / "c", options, n_shards=n_shards, progress=False)

    monkeypatch.setattr("cache.building.ray_engine.tqdm", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        build(n_shards=6)
    monkeypatch.undo()
    while reading():
        time.sleep(0.01)
    before = {f.name: f.stat().st_mtime_ns for f in shards.glob("*.safetensors")}
    assert before
    assert not (tmp_path / "c").exists()
    assert Plan.model_validate_json((shards / PLAN).read_bytes()).n_shards == 6
    for wrong in ({"options": replace(SLOW, top_k=3)}, {"n_shards": 5}):
        with pytest.raises(CacheError, match=r"interrupted build with other settings.* \(6\)"):
            build(**wrong)
    with watched(shards) as times:
        build()
    assert contents(tmp_path / "c") == contents(tiny_model / "neurons")
    for name, written in before.items():
        assert times[name] <= {written}
    assert not shards.exists()


def test_what_workers_cannot_see_is_said(tiny_checkpoint, corpus, tmp_path):
    with pytest.raises(CacheError, match=f"worker on .* cannot see {tmp_path}/nowhere"):
        build_on_ray(tmp_path / "nowhere", [corpus], tmp_path / "c", progress=False)
    with pytest.raises(CacheError, match="all nodes must share --out"):
        build_on_ray(tiny_checkpoint, [corpus], "memory://bucket/c", n_shards=1, progress=False)


def test_a_folder_of_something_else_is_left_alone(tiny_checkpoint, corpus, tmp_path):
    (tmp_path / "c.shards").mkdir()
    (tmp_path / "c.shards/thesis.txt").write_text("mine")
    with pytest.raises(CacheError, match="holds something else"):
        build_on_ray(tiny_checkpoint, [corpus], tmp_path / "c", progress=False)
    assert (tmp_path / "c.shards/thesis.txt").read_text() == "mine"


def test_a_damaged_shard_is_named(tiny_checkpoint, corpus, tmp_path):
    shards = tmp_path / "c.shards"
    options = Options(device="cpu", n_threads=1)
    job = ray_engine.Job(
        str(tiny_checkpoint), (str(corpus),), None, options, str(tmp_path / "c"), str(Path.cwd()), ()
    )
    settings, n_bytes = ray_engine.describe(job)
    plan = Plan(settings=settings, names=ray_engine.Corpus([corpus]).names, corpus_bytes=n_bytes, n_shards=2)
    shards.mkdir()
    (shards / PLAN).write_text(plan.model_dump_json())
    (shards / "00000-00001.safetensors").write_bytes(b"half a shard")
    with pytest.raises(CacheError, match=r"00000-00001\.safetensors is not a state .* remove it"):
        build_on_ray(tiny_checkpoint, [corpus], tmp_path / "c", options, progress=False)
    (shards / "00000-00001.safetensors").unlink()
    build_on_ray(tiny_checkpoint, [corpus], tmp_path / "c", options, progress=False)


def test_a_cluster_that_cannot_be_had_is_said(tiny_checkpoint, corpus, tmp_path, monkeypatch):
    def build(**how: object) -> None:
        build_on_ray(tiny_checkpoint, [corpus], tmp_path / "c", progress=False, **how)

    with pytest.raises(CacheError, match=r"nothing answers at 127\.0\.0\.1:1 "):
        build(address="127.0.0.1:1")
    with pytest.raises(CacheError, match="no node of the cluster has 64 cores, 0 GPUs"):
        build(options=Options(n_threads=64))
    with pytest.raises(CacheError, match="no node of the cluster has 1 cores, 1 GPUs"):
        build(options=Options(device="cuda"))
    with pytest.raises(CacheError, match=r"and [\d.]+ GB of memory for a task"):
        count_slots(ray, task_resources(Options(n_threads=1, device="cpu"), memory=10**15))
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(CacheError, match="pip install ray"):
        build()


@pytest.mark.parametrize("wrong", [["--shards", "3"], ["--engine", "ray", "--shard", "0/2"]])
def test_options_that_do_not_go_together(wrong):
    done = CliRunner().invoke(app, ["build", "--model", "m", "--data", "d", "--out", "o", *wrong])
    assert done.exit_code == 2
    assert not os.path.exists("o")  # noqa: PTH110
