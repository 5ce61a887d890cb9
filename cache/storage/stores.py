"""Files and folders in any store that fsspec knows, as easily as on disk.

A place is a local path or a URL such as `s3://bucket/folder`. What belongs into a store is made on this
machine and put there when it is whole; of a cache the manifest comes last, and a folder without one is no
cache. A URL `file://` is the local path that it names.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from cache.format.schema import EXAMPLES, MANIFEST, PROFILES, CacheError
from solu_model import files

Place = str | Path


class StoreError(CacheError, OSError):
    """A store that does not do what it is asked; another attempt may succeed."""


def local_path(place: Place) -> Path | None:
    """The path of a place on this machine's disk, None for one in a store."""
    if "://" not in str(place):
        return Path(place)
    store, root = _store(place)
    return Path(root) if "file" in store.protocol else None


def beside(place: Place, suffix: str) -> str:
    """The place whose name is longer by `suffix`."""
    return str(place).rstrip("/") + suffix


def inside(place: Place, name: str) -> str:
    """A file of a folder.

    Raises:
        CacheError: the name leads out of the folder.
    """
    parts = PurePosixPath(name).parts
    if not parts or ".." in parts or PurePosixPath(name).is_absolute() or "\\" in name or "://" in name:
        raise CacheError(f"expected the name of a file in {place}, got {name!r}")
    return f"{str(place).rstrip('/')}/{name}"


@contextmanager
def staged(target: Place) -> Iterator[Path]:
    """A local path to make a file or folder at; in a store it is put when the block ends without an error.

    For a URL the path is the same at every call on one machine, and an error or a kill leaves what is there
    (such as a saved state): the next call finds it.

    Raises:
        StoreError: it could not be put; it is still on this machine.
    """
    local = local_path(target)
    if local is not None:
        yield local
        return
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "solu-explorer"
    folder = home / hashlib.sha256(str(target).encode()).hexdigest()[:16]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = folder / "made"
    yield made
    with _telling(f"what is whole in {made} cannot be put to {target}"):
        (_put_folder if made.is_dir() else _put_file)(made, target)
    files.remove(folder)


@contextmanager
def fetched(source: Place) -> Iterator[Path]:
    """A local path of a file, for as long as the block lasts.

    Raises:
        StoreError: there is none in the store.
    """
    local = local_path(source)
    if local is not None:
        yield local
        return
    store, root = _store(source)
    with TemporaryDirectory(prefix="solu-") as folder:
        copy = Path(folder) / PurePosixPath(root).name
        with _telling(f"cannot read {source}"):
            store.get_file(root, str(copy))
        yield copy


def names(folder: Place) -> set[str]:
    """What is directly in a folder, by name; nothing where there is no such folder."""
    store, root = _store(folder)
    with _telling(f"cannot list {folder}"):
        store.invalidate_cache()
        if not store.isdir(root):
            return set()
        return {PurePosixPath(found).name for found in store.ls(root, detail=False)}


def read(file: Place) -> bytes | None:
    """A file's bytes; None where there is no such file."""
    store, root = _store(file)
    with _telling(f"cannot read {file}"):
        try:
            content: bytes = store.cat_file(root)
        except FileNotFoundError:
            return None
        return content


def write(file: Place, content: bytes) -> None:
    """Write a small file, whole or not at all."""
    with staged(file) as staging, files.written_aside(staging) as aside:
        aside.write_bytes(content)


def remove(place: Place) -> None:
    """Remove a file, or a folder and all that is in it; nothing where there is none."""
    store, root = _store(place)
    with _telling(f"cannot remove {place}"):
        store.invalidate_cache()
        if store.exists(root):
            store.rm(root, recursive=True)


def _put_file(made: Path, url: Place) -> None:
    store, root = _store(url)
    store.put_file(str(made), f"{root}.partial")
    store.mv(f"{root}.partial", root)


def _put_folder(made: Path, url: Place) -> None:
    """A cache: the old manifest goes first, the new one comes last."""
    store, root = _store(url)
    found = sorted(made.rglob("*"))
    for path in found:
        if path.is_symlink():
            raise CacheError(f"{path} is a link, which may lead out of the folder: nothing was put to {url}")
    new = [p.relative_to(made).as_posix() for p in found if p.is_file()]
    for name in (MANIFEST, PROFILES, EXAMPLES):
        remove(inside(url, name))
    new = [name for name in new if name != MANIFEST]
    store.put([str(made / name) for name in new], [f"{root}/{name}" for name in new])
    if (made / MANIFEST).is_file():
        store.put_file(str(made / MANIFEST), f"{root}/{MANIFEST}")


def _store(place: Place) -> tuple[Any, str]:
    """What does the work for a place, and what it calls it."""
    from fsspec.core import url_to_fs

    try:
        store, root = url_to_fs(str(place) if "://" in str(place) else os.path.abspath(place))  # noqa: PTH100
    except (ValueError, ImportError) as error:
        raise CacheError(
            f"{place} is in no store that can be reached ({error}): expected a path, or a URL that fsspec "
            "knows and whose package is installed (s3fs for s3://, gcsfs for gs://)"
        ) from error
    if not root.strip("/") or ".." in PurePosixPath(root).parts:
        raise CacheError(f"expected a file or folder below the root of its store, got {place}")
    return store, root


@contextmanager
def _telling(what: str) -> Iterator[None]:
    try:
        yield
    except CacheError:
        raise
    except Exception as error:  # each store has error types of its own
        raise StoreError(
            f"{what} ({type(error).__name__}: {error}): is the address right, and yours?"
        ) from error
