"""Atomic writes and checksums of files.

A file or folder is written under a temporary name beside its target and then renamed, so that a killed
process or a full disk never leaves half of it behind. Each writer has a temporary name of its own; the next
write of the same target removes what a killed one left.
"""

import errno
import hashlib
import os
import re
import secrets
import shutil
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

_LEFTOVER = re.compile(r"\.([0-9a-f]{12})\.([0-9]{1,10})\.[0-9a-f]{12}\.(partial|old)")
"""End of a temporary name: system (`_system`), process and writer."""
_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}
_FOREIGN_ERROR = re.compile(
    r"\(os error (\d{1,4})\)|inline_container.*unexpected pos|PytorchStreamWriter failed"
)
"""In messages of `tokenizers` and `safetensors`, whose errors are of no type of their own, and of torch."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@contextmanager
def written_aside(target: Path) -> Iterator[Path]:
    """Give a temporary path for a file or folder; rename it to `target` if the block ends without an error.

    After an error the temporary path is removed, and an older `target` is unchanged. A file is on disk before
    it is renamed, so that after a power cut there is the old one or the new one. Threads and processes may
    write the same target at once: the last to end has its content there.
    """
    # In the folder of the target, since a rename is atomic within a file system only.
    aside = target.with_name(f"{target.name}{_temporary_suffix()}.partial")
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(target)
    try:
        yield aside
        _follow_umask(aside)
        if aside.is_file():
            _reach_disk(aside)
    except BaseException:
        remove(aside)
        raise
    while aside.is_dir() and not aside.is_symlink():
        try:
            aside.rename(target)  # replaces an empty folder, but not one with content
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            old = target.with_name(f"{target.name}{_temporary_suffix()}.old")
            try:
                target.rename(old)
            except FileNotFoundError:
                continue  # another writer has just moved it away
            remove(old)
        else:
            return
    aside.replace(target)


def remove(path: Path) -> None:
    """Remove a file, a link or a folder, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remove_leftovers(target: Path) -> None:
    """Remove what killed processes of this system left of their writes of `target`.

    A folder that was moved out of the way, when the new one had not come into its place, is put back.
    """
    for path in target.parent.iterdir():
        if not path.name.startswith(target.name):
            continue
        match = _LEFTOVER.fullmatch(path.name, len(target.name))
        if not match or match[1] != _system() or _is_alive(int(match[2])):
            continue
        # Another writer may be at the same leftover, or it may be of another account: neither stops this one.
        with suppress(OSError):
            if match[3] == "old" and not target.exists():
                path.rename(target)
            else:
                remove(path)


def _temporary_suffix() -> str:
    return f".{_system()}.{os.getpid()}.{secrets.token_hex(6)}"


@cache
def _system() -> str:
    """Name the system whose processes `_is_alive` sees.

    Machines and containers may share a folder, and have the same host name.
    """
    parts = [socket.gethostname()]
    with suppress(OSError):  # Linux alone has these
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii"))
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:12]


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # of another account; no process number
        return True
    return True


def _follow_umask(path: Path) -> None:
    """Give files that only their owner may read, as safetensors writes them, the mode of any new file."""
    private = [
        file
        for file in ([path] if path.is_file() else path.rglob("*"))
        if file.is_file() and not file.is_symlink() and stat.S_IMODE(file.stat().st_mode) == 0o600
    ]
    for file in private:
        file.chmod(0o666 & ~_umask())


def _umask() -> int:
    with suppress(OSError, IndexError, ValueError):  # Linux alone has this
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return int(status.partition("Umask:")[2].split(None, 1)[0], 8)
    mask = os.umask(0o077)  # the only other way to read it; threads may write a file meanwhile
    os.umask(mask)
    return mask


def _reach_disk(file: Path) -> None:
    with open(file, "rb") as stream:
        os.fsync(stream.fileno())


def is_disk_error(error: BaseException) -> bool:
    """Return True for a full, read-only or broken disk, also where another library's error hides it."""
    if isinstance(error, OSError):
        return error.errno in _DISK_ERRORS
    match = _FOREIGN_ERROR.search(str(error))
    return match is not None and (match[1] is None or int(match[1]) in _DISK_ERRORS)


def printable(name: str | Path) -> str:
    """Return a name as it can be shown: control characters and bytes that are not UTF-8 are escaped."""
    # A byte that is not UTF-8 is a lone surrogate in a string of Python; such a string cannot be written.
    try:
        text = str(name).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # a surrogate of no file name
        text = str(name).encode("utf-8", "backslashreplace").decode()
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def is_utf8(name: str | Path) -> bool:
    """Return False for a name with bytes that are not UTF-8, which pyarrow and tokenizers cannot open."""
    try:
        str(name).encode()
    except UnicodeEncodeError:
        return False
    return True


def sha256_of(file: Path) -> str:
    """Return the SHA-256 of a file's bytes, as hex digits."""
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
