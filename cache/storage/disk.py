"""Writes that fail cleanly: a full disk is one clear error, and the older file stays."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from cache.format.schema import CacheError
from solu_model.files import written_aside


class NotWritten(CacheError):
    """Error of a file or folder that could not be written; an older one is unchanged."""


@contextmanager
def atomic_write(target: Path, n_bytes: int | None = None) -> Iterator[Path]:
    """Yield a path beside the target to write to, which is renamed when the block ends without an error.

    As `solu_model.files.written_aside`, with an error that tells the free space and a remedy.

    Args:
        target: the file or folder.
        n_bytes: its size, if known, for the error.

    Raises:
        NotWritten: the disk is full, or the place cannot be written to.
    """
    try:
        with written_aside(target) as aside:
            yield aside
    except (OSError, SafetensorError) as error:  # safetensors wraps the OSError of its own writes
        needed = "" if n_bytes is None else f"It takes {n_bytes / 1e6:,.1f} MB; "
        raise NotWritten(
            f"{target} cannot be written ({error}). {needed}{_free(target)}. Make room there or name another "
            "place, then run the same command again"
        ) from error


def _free(target: Path) -> str:
    folder = next((p for p in target.absolute().parents if p.is_dir()), Path("/"))
    return f"{shutil.disk_usage(folder).free / 1e6:,.1f} MB are free in {folder}"
