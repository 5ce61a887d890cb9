"""Writing that can fail: a full disk is one clear error, and what was there before stays."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from cache.format.schema import MANIFEST, CacheError
from solu_model.files import written_aside


class NotWritten(CacheError):
    """A file or folder could not be written; an older one is as it was."""


@contextmanager
def written(target: Path, n_bytes: int | None = None) -> Iterator[Path]:
    """`solu_model.files.written_aside`, with errors that say how much room there is and what to do.

    Args:
        target: the file or folder.
        n_bytes: how much it takes, where that is known.

    Raises:
        NotWritten: the disk is full, or the place cannot be written to.
    """
    try:
        with written_aside(target) as aside:
            yield aside
    except (OSError, SafetensorError) as error:  # safetensors wraps those of its own writing
        needed = "" if n_bytes is None else f"It takes {n_bytes / 1e6:,.1f} MB; "
        raise NotWritten(
            f"{target} cannot be written ({error}). {needed}{_free(target)}. Make room there or name another "
            "place, then run the same command again"
        ) from error


def check_place(out: Path) -> None:
    """Raise CacheError where writing a cache would take something else away."""
    if (out.exists() or out.is_symlink()) and not (out / MANIFEST).is_file():
        if out.is_dir() and not any(out.iterdir()):
            return
        raise CacheError(
            f"{out} is there and holds no neuron cache: it would be replaced. Name a folder of the cache's "
            f"own, such as {out / 'neurons'}"
        )


def _free(target: Path) -> str:
    there = next((p for p in target.absolute().parents if p.is_dir()), Path("/"))
    return f"{shutil.disk_usage(there).free / 1e6:,.1f} MB are free in {there}"
