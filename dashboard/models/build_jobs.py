"""Builds of caches, each in its own process, which outlives the page and the server.

A build's files are in the folder `neurons.job` beside the model's cache: `job.json` the request,
`progress.json` written by the build, `output.log` its output, `stop` if a stop was requested. The process
holds a lock on the file `lock` for as long as it lives: a lock says for certain that it runs, which a process
id does not, and a model has one build at a time.
"""

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Literal, TypeVar

import psutil
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cache.format.schema import MANIFEST
from dashboard.shared.catalog import NEURONS
from dashboard.shared.settings import REPOSITORY
from solu_model.files import remove, written_aside
from solu_model.text.corpus.files import FORMATS, find_files, kind_of
from solu_model.text.documents import CorpusError, CorpusOptions

_NICE = 10  # lower priority than the dashboard
_OUTPUT_SHOWN = 2_000  # characters at the end of a build's output
_MAX_ENTRIES = 50_000  # of a folder, searched for text before it is refused
_LOCK_TRIES = 5  # `_is_locked` takes the lock for a moment

_Record = TypeVar("_Record", bound=BaseModel)


class BuildError(ValueError):
    """A build that cannot be started, stopped or discarded, with the reason and what to do."""


State = Literal["running", "stopping", "done", "stopped", "failed"]


class BuildRequest(BaseModel):
    """Text and sample of a build, with its process: the content of `job.json`."""

    model_config = ConfigDict(frozen=True)

    data: Path
    """File or folder of text."""
    sample: float = Field(gt=0, le=1)
    """Share of the documents to read."""
    started: float
    """Seconds since 1970."""
    pid: int = Field(gt=1)


class BuildProgress(BaseModel):
    """Progress as `cache.building.progress` writes it."""

    model_config = ConfigDict(frozen=True)

    stage: Literal["reading", "writing"]
    n_tokens: int
    n_bytes: int
    """Bytes of text read."""
    total_bytes: int | None
    """Size of the text in bytes; None if it is not known."""
    tokens_per_second: float
    seconds_left: float | None
    memory: int
    """Bytes."""


class Build(BaseModel):
    """State of a build."""

    model_config = ConfigDict(frozen=True)

    state: State
    request: BuildRequest | None
    progress: BuildProgress | None
    can_resume: bool
    """True if the build's progress was saved."""
    output: str
    """The end of the build's output."""


def check_text_path(text: str) -> Path:
    """Return the path of a file or folder of text, as typed by a person.

    Raises:
        BuildError: the path is not absolute, does not exist, or has no text.
    """
    try:
        path = Path(text.strip()).expanduser()
        is_file, is_folder = path.is_file(), path.is_dir()
    except (ValueError, RuntimeError, OSError) as error:  # a NUL, an unknown home, too long
        raise BuildError(
            f"{text!r} is not a path ({error}): expected the path of a file or folder"
        ) from error
    if not path.is_absolute():
        raise BuildError(f"expected an absolute path, such as /data/text, found {text.strip()!r}")
    if not is_file and not is_folder:
        raise BuildError(
            f"{path} does not exist on this server: expected a file or a folder with text ({FORMATS})"
        )
    if is_file and kind_of(path.name)[0] is None:
        raise BuildError(f"{path.name} has an unknown format: expected one of {FORMATS}")
    try:
        find_files(path, CorpusOptions(), most=_MAX_ENTRIES)
    except CorpusError as error:
        raise BuildError(str(error)) from error
    return path


def start_build(model: Path, data: Path, sample: float) -> None:
    """Start to build a model's cache, or resume an interrupted build.

    Args:
        model: folder of a checkpoint.
        data: file or folder of text.
        sample: share of the documents to read, above 0 and at most 1.

    Raises:
        BuildError: a build is running, or the model's folder cannot be written to.
    """
    folder = _folder(model)
    try:
        folder.mkdir(exist_ok=True)
        with _locked(folder) as lock:
            for name in ("job.json", "progress.json", "stop"):
                remove(folder / name)
            # -P: a module in the working directory must not take the place of one of ours.
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
                    pass_fds=(lock,),  # an inherited lock is held until the process ends
                    start_new_session=True,  # Ctrl-C in the server's terminal does not reach it
                )  # fmt: skip
            request = BuildRequest(data=data, sample=sample, started=time.time(), pid=process.pid)
            with written_aside(folder / "job.json") as aside:
                aside.write_text(request.model_dump_json(), encoding="utf-8")
    except OSError as error:
        raise BuildError(
            f"{folder} cannot be written ({error}): make the model's folder writable for the account "
            "that the dashboard runs under"
        ) from error
    with suppress(psutil.Error):
        psutil.Process(process.pid).nice(_NICE)
    Thread(target=process.wait, daemon=True).start()  # reap it: no zombie is left


def last_build(model: Path) -> Build | None:
    """Return the state of a model's last build, running or not; None without one."""
    folder = _folder(model)
    if not folder.is_dir():
        return None
    is_running = _is_locked(folder)
    request = _read(folder / "job.json", BuildRequest)
    progress = _read(folder / "progress.json", BuildProgress)
    stop_requested = (folder / "stop").exists()
    state: State
    if is_running:
        state = "stopping" if stop_requested else "running"
    elif request is None:
        return None
    elif _changed(model / NEURONS / MANIFEST) >= request.started:  # the cache is of this build
        state = "done"
    else:
        state = "stopped" if stop_requested else "failed"
    return Build(
        state=state, request=request, progress=progress, can_resume=_saved(model).is_file(),
        output=_output(folder),
    )  # fmt: skip


def stop_build(model: Path) -> None:
    """Request a model's build to save its progress and end.

    Raises:
        BuildError: no build is running.
    """
    folder = _folder(model)
    request = _read(folder / "job.json", BuildRequest)
    # The lock, and not only the id: an id is given to another process once the build has ended.
    if request is None or not _is_locked(folder):
        raise BuildError("no build of this model is running: reload the page")
    (folder / "stop").touch()
    with suppress(ProcessLookupError):  # it has just ended
        os.kill(request.pid, signal.SIGTERM)


def discard_build(model: Path) -> None:
    """Delete the files of a build that is not running, and its saved progress.

    Raises:
        BuildError: it is running.
    """
    folder = _folder(model)
    if folder.is_dir():
        with _locked(folder):
            remove(_saved(model))
            remove(folder)


def _folder(model: Path) -> Path:
    return model / f"{NEURONS}.job"


def _saved(model: Path) -> Path:
    return model / f"{NEURONS}.state"


@contextmanager
def _locked(folder: Path) -> Iterator[int]:
    """Hold the lock, and yield its file descriptor; a process that inherits it holds it until it ends.

    Raises:
        BuildError: a build holds it.
    """
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        for again in reversed(range(_LOCK_TRIES)):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if not again:
                    raise BuildError("a build of this model is running: wait for it, or stop it") from error
                time.sleep(0.02)
            except OSError as error:  # file systems of clusters often have no locks
                if _is_alive(folder):
                    raise BuildError("a build of this model is running: wait for it, or stop it") from error
                break
        yield lock
    finally:
        os.close(lock)


def _is_locked(folder: Path) -> bool:
    try:
        lock = os.open(folder / "lock", os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a disk without locks
        return _is_alive(folder)
    finally:
        os.close(lock)
    return False


def _is_alive(folder: Path) -> bool:
    """Return True if the process of the last build lives: less certain than a lock, for disks without."""
    request = _read(folder / "job.json", BuildRequest)
    with suppress(psutil.Error):
        if request is not None:
            process = psutil.Process(request.pid)
            # Its id may have been given to another process, which does not name the model.
            is_same = str(folder.parent.resolve()) in process.cmdline()
            return is_same and process.status() != psutil.STATUS_ZOMBIE
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


def _output(folder: Path) -> str:
    try:
        return (folder / "output.log").read_text(encoding="utf-8", errors="replace")[-_OUTPUT_SHOWN:].strip()
    except OSError:
        return ""
