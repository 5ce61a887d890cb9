"""Places to write to: free, ours, or refused with a sentence and untouched."""

import os
from pathlib import Path

import pytest

from solu_model.targets import TargetError, check_target


def is_note(path: Path) -> bool:
    return path.is_file() and path.read_text() == "note"


def test_free_places_and_our_own_are_accepted(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "note").write_text("note")
    for name in ("new", "new/deep/down", "empty", "note"):
        check_target(tmp_path / name, "note", is_note)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty", "note"]


def test_everything_else_is_refused_and_stays(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("other")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / ".hidden").write_text("x")
    (tmp_path / "broken").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    for name in ("other", "folder", "broken"):
        with pytest.raises(TargetError, match=f"{name} exists and holds no note: it would be replaced"):
            check_target(tmp_path / name, "note", is_note)
    with pytest.raises(TargetError, match="exists and holds no note"):
        check_target(tmp_path / "pipe", "note", lambda path: bool(path.read_text()))
    with pytest.raises(TargetError, match="exists and is not an empty folder"):
        check_target(tmp_path / "folder", "note")
    assert (tmp_path / "other").read_text() == "other"


@pytest.mark.parametrize("name", ["a" * 300, "null\0byte", "file/inside"])
def test_places_that_cannot_be_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(TargetError, match="cannot be written") as refusal:
        check_target(tmp_path / name, "note")
    assert len(str(refusal.value)) < 1000


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"out\\xff is not UTF-8, .*: give another name"):
        check_target(tmp_path / os.fsdecode(b"out\xff"), "note", is_note)


def test_a_folder_that_is_read_only_is_named(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="since nothing can be created in /proc/self/ns"):
        check_target(Path("/proc/self/ns/here"), "note")
