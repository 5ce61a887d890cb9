"""Builds of caches, each in a process of its own that outlives the page and the server. Pure.

What is known of a build lies in `neurons.job` in the model's folder: `job.json` what was asked,
`progress.json` how far it is, `output.log` what it said. The process holds `lock` for as long as it lives, so
that whether it runs is never a guess, and a model has one at a time.
"""

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from threading import Thread
from typing import Literal, TypeVar

import psutil
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cache.format.schema import MANIFEST
from dashboard.shared.catalog import NEURONS
from dashboard.shared.settings import REPOSITORY
from solu_model.files import remove, written_aside
from solu_model.text.documents import SUFFIXES

_NICE = 10  # the dashboard comes first
_TAIL = 2_000  # characters of a build's last words that are shown
_LOOKED_AT = 50_000  # entries of a folder searched for text before it is refused
_TRIES = 5  # a reader may hold the lock for a moment


_Record = TypeVar("_Record", bound=BaseModel)


class JobError(ValueError):
    """A build that cannot be started or stopped, with what was expected, what was found and what to do."""


class Job(BaseModel):
    """What was asked."""

    model_config = ConfigDict(frozen=True)

    data: Path
    sample: float = Field(gt=0, le=1)
    started: float
    """Seconds since 1970."""
    pid: int = Field(gt=1)


class Progress(BaseModel):
    """What `cache.building.progress` reports."""

    model_config = ConfigDict(frozen=True)

    stage: Literal["reading", "writing"]
    n_tokens: int
    n_bytes: int
    total_bytes: int | None
    tokens_per_second: float
    seconds_left: float | None
    memory: int


class Build(BaseModel):
    """A build as it is now."""

    model_config = ConfigDict(frozen=True)

    state: Literal["running", "stopping", "done", "stopped", "failed"]
    job: Job | None
    progress: Progress | None
    can_go_on: bool
    """Whether what it read is saved."""
    output: str
    """Its last words."""


def checked_text(text: str) -> Path:
    """The file or folder of text that a path names.

    Raises:
        JobError: it is not absolute, is not there, or holds no text.
    """
    formats = ", ".join(SUFFIXES)
    try:
        path = Path(text.strip()).expanduser()
        is_file, is_folder = path.is_file(), path.is_dir()
    except (ValueError, RuntimeError, OSError) as error:  # a NUL, no such home, too long
        raise JobError(f"{text!r} is no path ({error}): expected that of a file or a folder") from error
    if not path.is_absolute():
        raise JobError(f"expected a whole path, as /data/text, found {text.strip()!r}")
    if not is_file and not is_folder:
        raise JobError(
            f"there is no {path} on this server: expected a file or a folder with text ({formats})"
        )
    if is_file and path.suffix not in SUFFIXES:
        raise JobError(f"{path.name} is not of a kind that is read: expected one of {formats}")
    entries = islice(path.rglob("*"), _LOOKED_AT) if is_folder else iter([path])
    if not any(entry.suffix in SUFFIXES for entry in entries):
        raise JobError(f"no text was found in {path}: expected files of {formats}")
    return path


def start(model: Path, data: Path, sample: float) -> None:
    """Build a model's cache, or go on with one that was interrupted.

    Args:
        model: the folder of a checkpoint.
        data: a file or folder of text.
        sample: share of the documents to read, above 0 to 1.

    Raises:
        JobError: one is running, or the model's folder cannot be written to.
    """
    folder = _folder(model)
    try:
        folder.mkdir(exist_ok=True)
        with _held(folder) as lock:
            for name in ("job.json", "progress.json", "stop"):
                remove(folder / name)
            command = [
                sys.executable, "-P", "-c", "from dashboard.cli import main; main()", "cache", "build",
                "--model", str(model.resolve()), "--data", str(data), "--out", str(model.resolve() / NEURONS),
                "--sample", repr(sample), "--progress-file", str(folder.resolve() / "progress.json"),
            ]  # fmt: skip
            search = [str(REPOSITORY), os.environ.get("PYTHONPATH", "")]
            environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, search))}
            with open(folder / "output.log", "wb") as log:
                process = subprocess.Popen(  # noqa: S603 our own command, no shell
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment,
                    pass_fds=(lock,), start_new_session=True,
                )  # fmt: skip
            job = Job(data=data, sample=sample, started=time.time(), pid=process.pid)
            with written_aside(folder / "job.json") as aside:
                aside.write_text(job.model_dump_json(), encoding="utf-8")
    except OSError as error:
        raise JobError(
            f"{folder} cannot be written ({error}): make the model's folder writable for the account "
            "that the dashboard runs under"
        ) from error
    with suppress(psutil.Error):
        psutil.Process(process.pid).nice(_NICE)
    Thread(target=process.wait, daemon=True).start()  # so that nothing is left of it when it ends


def build_of(model: Path) -> Build | None:
    """The model's last build, running or not; None where there was none."""
    folder = _folder(model)
    if not folder.is_dir():
        return None
    running = _is_held(folder)
    job, progress = _read(folder / "job.json", Job), _read(folder / "progress.json", Progress)
    asked = (folder / "stop").exists()
    if running:
        state: Literal["running", "stopping", "done", "stopped", "failed"] = (
            "stopping" if asked else "running"
        )
    elif job is None:
        return None
    elif _changed(model / NEURONS / MANIFEST) >= job.started:
        state = "done"
    else:
        state = "stopped" if asked else "failed"
    return Build(
        state=state, job=job, progress=progress, can_go_on=_saved(model).is_file(), output=_tail(folder)
    )  # fmt: skip


def stop(model: Path) -> None:
    """Ask the model's build to save what it read and end.

    Raises:
        JobError: none is running.
    """
    folder = _folder(model)
    job = _read(folder / "job.json", Job)
    if job is None or not _is_held(folder):
        raise JobError("no build of this model is running: reload the page")
    (folder / "stop").touch()
    with suppress(ProcessLookupError):  # it has just ended by itself
        os.kill(job.pid, signal.SIGTERM)


def discard(model: Path) -> None:
    """Forget a build that does not run, and what it read.

    Raises:
        JobError: it runs.
    """
    folder = _folder(model)
    if folder.is_dir():
        with _held(folder):
            remove(_saved(model))
            remove(folder)


def _folder(model: Path) -> Path:
    return model / f"{NEURONS}.job"


def _saved(model: Path) -> Path:
    return model / f"{NEURONS}.state"


@contextmanager
def _held(folder: Path) -> Iterator[int]:
    """The lock, which a process that inherits it holds for as long as it lives.

    Raises:
        JobError: a build holds it.
    """
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        for again in reversed(range(_TRIES)):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if not again:
                    raise JobError("a build of this model is running: wait for it, or stop it") from error
                time.sleep(0.02)
        yield lock
    finally:
        os.close(lock)


def _is_held(folder: Path) -> bool:
    try:
        lock = os.open(folder / "lock", os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def _read(file: Path, kind: type[_Record]) -> _Record | None:
    try:
        return kind.model_validate_json(file.read_bytes())
    except (OSError, ValidationError):
        return None


def _changed(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0


def _tail(folder: Path) -> str:
    try:
        return (folder / "output.log").read_text(encoding="utf-8", errors="replace")[-_TAIL:].strip()
    except OSError:
        return ""
