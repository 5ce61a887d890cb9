"""Builds in a process of their own: run, told of, stopped, gone on with, failed; never two at once."""

import errno
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cache.reader import NeuronCache
from dashboard.models import build_jobs as jobs
from dashboard.models.build_jobs import (
    Build,
    BuildError,
    check_text_path,
    discard_build,
    last_build,
    start_build,
    stop_build,
)
from dashboard.shared.settings import REPOSITORY, builds_allowed


@pytest.fixture
def model(tiny_checkpoint: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of the tiny checkpoint, without a cache."""
    folder = tmp_path / "models" / "tiny"
    shutil.copytree(tiny_checkpoint, folder, ignore=shutil.ignore_patterns("neurons*"))
    yield folder
    build = last_build(folder)
    if build and build.state in ("running", "stopping") and build.request:
        os.kill(build.request.pid, signal.SIGKILL)


@pytest.fixture
def long_text(corpus: Path, tmp_path: Path) -> Path:
    """Text that takes the tiny model long enough to be interrupted."""
    rows = pq.read_table(corpus).to_pylist()
    texts = [row | {"text": f"{n} {row['text']}"} for n in range(1500) for row in rows]
    file = tmp_path / "long.parquet"
    pq.write_table(pa.Table.from_pylist(texts), file)
    return file


def ended(model: Path) -> Build:
    return until(model, "done", "stopped", "failed")


def until(model: Path, *states: str) -> Build:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        build = last_build(model)
        if build and build.state in states:
            return build
        time.sleep(0.05)
    raise AssertionError(f"expected {states}, got {last_build(model)}")


def reading(model: Path) -> Build:
    """Once it has read some text."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        build = last_build(model)
        if build and build.progress and build.progress.n_tokens:
            return build
        time.sleep(0.02)
    raise AssertionError(last_build(model))


def test_a_build_ends_with_a_cache(model: Path, tiny_model: Path, corpus: Path) -> None:
    assert last_build(model) is None
    start_build(model, corpus, 1.0)
    with pytest.raises(BuildError, match="is running"):
        start_build(model, corpus, 1.0)
    with pytest.raises(BuildError, match="is running"):
        discard_build(model)
    build = ended(model)
    assert build.state == "done", build.output
    assert build.progress
    assert build.progress.stage == "writing"
    mine, expected = NeuronCache.open(model / "neurons"), NeuronCache.open(tiny_model / "neurons")
    assert mine.manifest == expected.manifest
    assert build.progress.n_tokens == expected.manifest.corpus.n_tokens
    with pytest.raises(BuildError, match="no build of this model is running"):
        stop_build(model)


def test_on_a_disk_without_locks_the_process_tells(
    model: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    folder = jobs._folder(model)
    folder.mkdir()
    command = [sys.executable, "-c", "input()", "--model", str(model.resolve())]
    process = subprocess.Popen(command, stdin=subprocess.PIPE)
    request = jobs.BuildRequest(data=corpus, sample=1, started=time.time(), pid=process.pid)
    (folder / "job.json").write_text(request.model_dump_json())
    (folder / "lock").touch()
    assert last_build(model).state == "running"
    for change in (lambda: start_build(model, corpus, 1.0), lambda: discard_build(model)):
        with pytest.raises(BuildError, match="is running"):
            change()
    process.communicate(b"")
    assert last_build(model).state == "failed"
    other = request.model_copy(update={"pid": os.getpid()})
    (folder / "job.json").write_text(other.model_dump_json())
    assert last_build(model).state == "failed", "the id belongs to another process now"
    discard_build(model)
    assert last_build(model) is None


def test_a_stopped_build_goes_on_where_it_was(model: Path, long_text: Path) -> None:
    start_build(model, long_text, 1.0)
    running = reading(model)
    assert running.state == "running"
    assert running.progress
    assert running.progress.memory > 10_000_000
    assert running.progress.total_bytes
    stop_build(model)
    build = ended(model)
    assert (build.state, build.can_resume) == ("stopped", True), build.output
    assert "resumes from" in build.output
    assert not (model / "neurons").exists()
    start_build(model, long_text, 1.0)
    again = reading(model)
    assert again.progress
    assert again.progress.n_tokens >= running.progress.n_tokens
    stop_build(model)
    ended(model)
    discard_build(model)
    assert last_build(model) is None
    assert not list(model.glob("neurons*"))


def test_a_killed_build_says_so(model: Path, long_text: Path) -> None:
    start_build(model, long_text, 1.0)
    request = reading(model).request
    assert request is not None
    os.kill(request.pid, signal.SIGKILL)
    assert ended(model).state == "failed"


def test_a_build_that_fails_leaves_its_words(model: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.parquet"
    bad.write_bytes(b"no parquet")
    start_build(model, bad, 1.0)
    build = ended(model)
    assert build.state == "failed"
    assert "bad.parquet" in build.output
    assert "Traceback" not in build.output


def test_a_build_outlives_the_process_that_started_it(model: Path, corpus: Path) -> None:
    code = "import sys; from pathlib import Path; from dashboard.models.build_jobs import start_build; "
    code += "start_build(Path(sys.argv[1]), Path(sys.argv[2]), 1.0)"
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    subprocess.run([sys.executable, "-c", code, str(model), str(corpus)], env=environment, check=True)
    assert ended(model).state == "done"


def test_names_are_never_options_or_shell(model: Path, corpus: Path, tmp_path: Path) -> None:
    odd = tmp_path / "--model $(touch x); 'a b'.parquet"
    shutil.copy(corpus, odd)
    start_build(model, check_text_path(str(odd)), 0.5)
    assert ended(model).state == "done"
    assert NeuronCache.open(model / "neurons").manifest.corpus.sample == 0.5


@pytest.mark.parametrize("damage", [b"", b"{}", b'{"pid": 0}', b"\xff"])
def test_a_damaged_job_is_no_build(model: Path, damage: bytes) -> None:
    (model / "neurons.job").mkdir()
    (model / "neurons.job" / "job.json").write_bytes(damage)
    assert last_build(model) is None
    with pytest.raises(BuildError, match="no build of this model is running"):
        stop_build(model)


def test_a_stale_job_never_has_another_process_killed(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that once had the number may be anyone's now."""
    folder = model / "neurons.job"
    folder.mkdir()
    job = {"data": "/x", "sample": 1, "started": time.time(), "pid": os.getpid()}
    (folder / "job.json").write_text(json.dumps(job))
    monkeypatch.setattr(jobs.os, "kill", lambda *_: pytest.fail("killed"))
    with pytest.raises(BuildError):
        stop_build(model)
    build = last_build(model)
    assert build is not None
    assert build.state == "failed"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "an absolute path"),
        ("relative/path", "an absolute path"),
        ("wikitext", "an absolute path"),
        ("https://example.org/x.parquet", "an absolute path"),
        ("--out", "an absolute path"),
        ("/no/such/file.txt", "does not exist"),
        ("/etc/hostname", "unknown format"),
        ("/dev/null", "does not exist"),
        ("a\0b", "an absolute path"),
        ("/a\0b", "does not exist"),
        ("/" + "x" * 5000, "no"),
    ],
)
def test_only_text_that_is_there_is_read(text: str, expected: str) -> None:
    with pytest.raises(BuildError, match=expected):
        check_text_path(text)


def test_a_folder_needs_text(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="holds no text"):
        check_text_path(str(tmp_path))
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.txt").write_text("x")
    assert check_text_path(f" {tmp_path} ") == tmp_path


@pytest.mark.parametrize(
    ("address", "said", "expected"),
    [
        ("localhost", None, True), ("127.0.0.1", None, True), ("::1", None, True),
        ("0.0.0.0", None, False), (None, None, False), ("192.168.0.2", None, False),
        ("0.0.0.0", "1", True), ("localhost", "0", False), ("localhost", "yes", False),
    ],
)  # fmt: skip
def test_builds_are_for_those_at_this_machine(address: str | None, said: str | None, expected: bool) -> None:
    assert builds_allowed(address, {} if said is None else {"SOLU_BUILDS": said}) is expected
