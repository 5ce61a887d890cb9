"""Write files so that a kill or a full disk never leaves half of one behind."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_aside(target: Path) -> Iterator[Path]:
    """A path to write a file or folder to, renamed to `target` when the block ends without an error.

    An error removes what was written and leaves an older `target` as it was.
    """
    aside = target.with_name(f"{target.name}.{os.getpid()}.partial")
    target.parent.mkdir(parents=True, exist_ok=True)
    remove(aside)
    try:
        yield aside
    except BaseException:
        remove(aside)
        raise
    if aside.is_dir() and target.is_dir():
        old = target.with_name(f"{target.name}.{os.getpid()}.old")
        target.rename(old)
        aside.rename(target)
        remove(old)
    else:
        aside.replace(target)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def weights_hash(folder: Path) -> str:
    """SHA-256 that names a checkpoint's weights: of `model.safetensors` where there is one.

    Otherwise of the names and hashes of all its weights files, in name order.
    """
    single = folder / "model.safetensors"
    if single.is_file():
        return sha256_of(single)
    files = sorted(p for p in folder.iterdir() if p.suffix in (".safetensors", ".pth", ".pt", ".bin"))
    listing = "".join(f"{sha256_of(p)}  {p.name}\n" for p in files)
    return hashlib.sha256(listing.encode()).hexdigest()


def sha256_of(file: Path) -> str:
    """SHA-256 of a file's bytes, as hex digits."""
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
