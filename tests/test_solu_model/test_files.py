"""Atomic writes: the old content or the new one, whoever writes at once and whoever is killed."""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from solu_model import files
from solu_model.files import is_disk_error, written_aside

ROOT = Path(__file__).parents[2]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("is_folder", [False, True])
def test_threads_that_write_one_target_lose_nothing(tmp_path: Path, is_folder: bool) -> None:
    target = tmp_path / "target"

    def write(content: str) -> None:
        with written_aside(target) as aside:
            if is_folder:
                aside.mkdir()
            file = aside / "file" if is_folder else aside
            file.write_text(content[:2])
            time.sleep(0)  # another thread has its turn
            file.write_text(content)

    contents = [f"{n:04}" for n in range(200)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, contents))
    assert (target / "file" if is_folder else target).read_text() in contents
    assert names(tmp_path) == ["target"]


def start_a_writer(target: Path) -> subprocess.Popen[str]:
    """A process that has begun to write `target` and waits."""
    code = (
        "import sys, time; from pathlib import Path; from solu_model.files import written_aside\n"
        "with written_aside(Path(sys.argv[1])) as aside:\n"
        "    aside.write_text('half'); print('begun', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(target)]
    writer = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "begun\n"
    return writer


def test_the_next_write_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    target = tmp_path / "model.safetensors"
    target.write_text("old")
    writer = start_a_writer(target)
    with written_aside(target) as aside:
        aside.write_text("meanwhile")
    assert len(names(tmp_path)) == 2  # that of the process, which lives
    writer.send_signal(signal.SIGKILL)
    writer.communicate()
    assert target.read_text() == "meanwhile"
    assert len(names(tmp_path)) == 2
    with written_aside(target) as aside:
        aside.write_text("new")
    assert names(tmp_path) == ["model.safetensors"]
    assert target.read_text() == "new"


def test_only_leftovers_of_this_system_and_this_target_go(tmp_path: Path) -> None:
    target = tmp_path / "a"
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    system = files._system()
    kept = [
        f"a.0123456789ab.{gone.pid}.0123456789ab.partial",  # of another machine or container
        f"a.{system}.{os.getpid()}.0123456789ab.partial",  # of a process that lives
        f"ab.{system}.{gone.pid}.0123456789ab.partial",  # of another target
        f"a.{system}.{gone.pid}.partial",  # of another form
    ]
    for name in [*kept, f"a.{system}.{gone.pid}.0123456789ab.partial"]:
        (tmp_path / name).write_text("x")
    with written_aside(target) as aside:
        aside.write_text("new")
    assert names(tmp_path) == sorted([*kept, "a"])


def test_a_folder_moved_out_of_the_way_by_a_killed_process_comes_back(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    old = tmp_path / f"cache.{files._system()}.{gone.pid}.0123456789ab.old"
    old.mkdir()
    (old / "file").write_text("old")
    with pytest.raises(RuntimeError, match="full disk"), written_aside(tmp_path / "cache"):
        raise RuntimeError("full disk")
    assert names(tmp_path) == ["cache"]
    assert (tmp_path / "cache" / "file").read_text() == "old"


def test_a_long_name_can_be_written(tmp_path: Path) -> None:
    target = tmp_path / ("x" * 190)
    with written_aside(target) as aside:
        aside.write_text("new")
    assert target.read_text() == "new"


def test_writers_that_meet_at_a_leftover_do_not_fail(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    target = tmp_path / "target"

    def write(_: int) -> None:
        with written_aside(target) as aside:
            aside.write_text("new")

    for turn in range(30):
        left = tmp_path / f"target.{files._system()}.{gone.pid}.{turn:012x}.partial"
        left.mkdir()
        for name in "abcdef":
            (left / name).write_text("x")
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(write, range(8)))
    assert target.read_text() == "new"


def _write_text(file: Path) -> None:
    file.write_text("word " * 2000)


def _write_tensors(file: Path) -> None:
    save_file({"a": torch.zeros(5000)}, file)


def _write_state(file: Path) -> None:
    torch.save({"a": torch.zeros(5000)}, file)


def _write_tokenizer(file: Path) -> None:
    Tokenizer(WordLevel({f"word{i}": i for i in range(2000)}, "word0")).save(str(file))


@pytest.mark.parametrize("write", [_write_text, _write_tensors, _write_state, _write_tokenizer])
def test_a_full_disk_is_recognised_in_the_errors_of_every_library(
    tmp_path: Path, write: Callable[[Path], None]
) -> None:
    write(tmp_path / "fits")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises(Exception, match=r"too large|unexpected pos") as raised:
            write(tmp_path / "file")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert is_disk_error(raised.value)


def test_other_errors_are_no_full_disk() -> None:
    for error in (ValueError("no such thing"), FileNotFoundError(2, "x"), Exception("x (os error 2)")):
        assert not is_disk_error(error)
