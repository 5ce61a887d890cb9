"""Atomic writes and checksums of files.

A file or folder is written under a temporary name beside its target and then renamed, so that a killed
process or a full disk never leaves half of it behind.
"""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_aside(target: Path) -> Iterator[Path]:
    """Give a temporary path for a file or folder; rename it to `target` if the block ends without an error.

    After an error the temporary path is removed, and an older `target` is unchanged.
    """
    # The process id keeps two writers of one target apart; the same folder makes the rename atomic.
    aside = target.with_name(f"{target.name}.{os.getpid()}.partial")
    target.parent.mkdir(parents=True, exist_ok=True)
    remove(aside)
    try:
        yield aside
    except BaseException:
        remove(aside)
        raise
    if aside.is_dir() and target.is_dir():  # a rename cannot replace a folder that is not empty
        old = target.with_name(f"{target.name}.{os.getpid()}.old")
        target.rename(old)
        aside.rename(target)
        remove(old)
    else:
        aside.replace(target)


def remove(path: Path) -> None:
    """Remove a file, a link or a folder, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def weights_hash(folder: Path) -> str:
    """Return the SHA-256 that identifies a checkpoint's weights, as hex digits.

    It is the hash of `model.safetensors` if that exists, otherwise the hash of a list of the names and
    hashes of all weights files in the folder, in name order.
    """
    single = folder / "model.safetensors"
    if single.is_file():
        return sha256_of(single)
    files = sorted(p for p in folder.iterdir() if p.suffix in (".safetensors", ".pth", ".pt", ".bin"))
    listing = "".join(f"{sha256_of(p)}  {p.name}\n" for p in files)
    return hashlib.sha256(listing.encode()).hexdigest()


def sha256_of(file: Path) -> str:
    """Return the SHA-256 of a file's bytes, as hex digits."""
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
