"""Places that commands write to: refused before the work if they hold something that would be lost."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryFile

from solu_model.files import is_utf8, printable

_SHOWN = 200  # characters of a path that is too long for a file system


class TargetError(ValueError):
    """A place that a command may not or cannot write to. The message says what is there and what to do."""


def check_target(target: Path, kind: str, is_ours: Callable[[Path], bool] | None = None) -> None:
    """Refuse a file or folder that holds something else than the command would replace or go on with.

    A place where nothing is, and an empty folder, are free. Every command that writes calls this before it
    reads or computes anything.

    Args:
        target: the file or folder that will be written.
        kind: its content, for the message, such as "neuron cache".
        is_ours: returns True for an existing file, or folder with content, that may be replaced or continued;
            None: nothing may be there.

    Raises:
        TargetError: something else is there, or the folder cannot be written to.
    """
    try:
        if "\0" in str(target):  # pathlib calls such a path missing
            raise ValueError("embedded null byte")
        if not is_utf8(target):
            raise TargetError(
                f"{printable(target)} is not UTF-8, which the libraries that write there need: give another "
                "name"
            )
        is_readable = target.is_file() or target.is_dir()  # reading a pipe would wait for ever
        if _is_taken(target) and not (is_ours is not None and is_readable and is_ours(target)):
            holds = f"holds no {kind}" if is_ours is not None else "is not an empty folder"
            raise TargetError(
                f"{target} exists and {holds}: it would be replaced. Give another place for the {kind}, or "
                "remove it first"
            )
        _check_access(target)
    except TargetError:
        raise
    except (OSError, ValueError) as error:  # a name that is too long, or holds a null byte
        raise TargetError(
            f"{str(target)[:_SHOWN]!r} cannot be written ({str(error)[:_SHOWN]}): give another place"
        ) from error


def _is_taken(target: Path) -> bool:
    if target.is_dir():
        return any(target.iterdir())
    return target.exists() or target.is_symlink()  # a link may lead nowhere


def _check_access(target: Path) -> None:
    """Raise TargetError if the nearest folder that exists cannot be written to."""
    path = target.absolute()
    folder = path if path.is_dir() else next(p for p in path.parents if p.exists())
    if not folder.is_dir():
        raise TargetError(f"{target} cannot be written, since {folder} is a file: give another place")
    try:  # rights alone do not tell: a disk may be read-only, and root may write anywhere else
        TemporaryFile(dir=folder).close()
    except OSError as error:
        raise TargetError(
            f"{target} cannot be written, since nothing can be created in {folder} ({error.strerror}): give "
            "another place, or change its mode"
        ) from error
