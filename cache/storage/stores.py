"""Files and folders on disk or in any store that fsspec knows.

A location is a local path or a URL such as `s3://bucket/folder`; a URL `file://` is the local path that it
names. Files for a store are made on this machine and uploaded when they are complete. The manifest of a
cache comes last, and a folder without one is not a cache.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any, Literal

from cache.format.schema import EXAMPLES, MANIFEST, PROFILES, CacheError
from solu_model import files

Location = str | Path


class StoreError(CacheError, OSError):
    """Error of a store that failed; another attempt may succeed."""


def local_path(location: Location) -> Path | None:
    """Return the path of a location on this machine's disk, None for one in a store."""
    if "://" not in str(location):
        return Path(location)
    store, root = _store(location)
    return Path(root) if "file" in store.protocol else None


def with_suffix(location: Location, suffix: str) -> str:
    """Return the location with a suffix added to its name."""
    return str(location).rstrip("/") + suffix


def file_in(folder: Location, name: str) -> str:
    """Return the location of a file in a folder.

    Raises:
        CacheError: the name leads out of the folder.
    """
    parts = PurePosixPath(name).parts
    if not parts or ".." in parts or PurePosixPath(name).is_absolute() or "\\" in name or "://" in name:
        raise CacheError(f"expected the name of a file in {folder}, got {name!r}")
    return f"{str(folder).rstrip('/')}/{name}"


@contextmanager
def staged(target: Location) -> Iterator[Path]:
    """Yield a local path for a file or folder, which is uploaded when the block ends without an error.

    A local target is written directly. For a URL the path is the same at every call on one machine, so after
    an error or a kill the next call finds the files made so far, such as a saved state.

    Raises:
        StoreError: the upload failed; the files are still on this machine.
    """
    local = local_path(target)
    if local is not None:
        yield local
        return
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "solu-explorer"
    # Named by the target, so that the same command finds its files again after a kill.
    folder = home / hashlib.sha256(str(target).encode()).hexdigest()[:16]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    staging = folder / "made"
    yield staging
    with _store_errors(f"cannot upload {staging} to {target}"):
        (_upload_folder if staging.is_dir() else _upload_file)(staging, target)
    files.remove(folder)


@contextmanager
def local_copy(source: Location) -> Iterator[Path]:
    """Yield a local path of a file, downloaded if needed, for the length of the block.

    Raises:
        StoreError: the store has no such file, or failed.
    """
    local = local_path(source)
    if local is not None:
        yield local
        return
    store, root = _store(source)
    with TemporaryDirectory(prefix="solu-") as folder:
        copy = Path(folder) / PurePosixPath(root).name
        with _store_errors(f"cannot read {source}"):
            store.get_file(root, str(copy))
        yield copy


def list_names(folder: Location) -> set[str]:
    """Return the names of files and folders directly in a folder; none where there is no such folder."""
    store, root = _store(folder)
    with _store_errors(f"cannot list {folder}"):
        store.invalidate_cache()  # other workers write to the folder too
        if not store.isdir(root):
            return set()
        return {PurePosixPath(path).name for path in store.ls(root, detail=False)}


def read(file: Location) -> bytes | None:
    """Return the bytes of a file; None where there is no such file."""
    store, root = _store(file)
    with _store_errors(f"cannot read {file}"):
        try:
            content: bytes = store.cat_file(root)
        except FileNotFoundError:
            return None
        return content


def kind_of(location: Location) -> Literal["file", "folder", "nothing"]:
    """Return the kind of what is at a location."""
    store, root = _store(location)
    with _store_errors(f"cannot read {location}"):
        store.invalidate_cache()
        if store.isfile(root):
            return "file"
        return "folder" if store.exists(root) else "nothing"


def read_start(file: Location, n_bytes: int) -> bytes:
    """Return the first bytes of a file; fewer if it is shorter."""
    store, root = _store(file)
    with _store_errors(f"cannot read {file}"):
        start: bytes = store.cat_file(root, 0, n_bytes)
        return start


def write(file: Location, content: bytes) -> None:
    """Write a small file, all or nothing."""
    with staged(file) as staging, files.written_aside(staging) as aside:
        aside.write_bytes(content)


def remove(location: Location) -> None:
    """Remove a file, or a folder with all its files; do nothing where there is none."""
    store, root = _store(location)
    with _store_errors(f"cannot remove {location}"):
        store.invalidate_cache()
        if store.exists(root):
            store.rm(root, recursive=True)


def _upload_file(local: Path, url: Location) -> None:
    store, root = _store(url)
    # Moved when complete: readers never see half a file under the final name.
    store.put_file(str(local), f"{root}.partial")
    store.mv(f"{root}.partial", root)


def _upload_folder(local: Path, url: Location) -> None:
    """Upload a cache. The old manifest is removed first, the new one comes last."""
    store, root = _store(url)
    paths = sorted(local.rglob("*"))
    for path in paths:
        if path.is_symlink():
            raise CacheError(
                f"{path} is a link, which may lead out of the folder: nothing was uploaded to {url}"
            )
    new = [p.relative_to(local).as_posix() for p in paths if p.is_file()]
    # Files of an older, larger cache must not remain among the new ones.
    for name in (MANIFEST, PROFILES, EXAMPLES):
        remove(file_in(url, name))
    new = [name for name in new if name != MANIFEST]
    store.put([str(local / name) for name in new], [f"{root}/{name}" for name in new])
    if (local / MANIFEST).is_file():
        store.put_file(str(local / MANIFEST), f"{root}/{MANIFEST}")


def _store(location: Location) -> tuple[Any, str]:
    """Return the file system (fsspec) of a location, and the location's path in it.

    Raises:
        CacheError: no file system knows the location, or it is the root of its store.
    """
    from fsspec.core import url_to_fs
    from fsspec.implementations.local import LocalFileSystem

    try:
        if "://" in str(location):
            store, root = url_to_fs(str(location))
        else:  # not by `url_to_fs`, which takes `a::b` for a chain of addresses
            store, root = LocalFileSystem(), os.path.abspath(location)  # noqa: PTH100
    except (ValueError, ImportError) as error:
        raise CacheError(
            f"{location} is in no store that can be reached ({error}): expected a path, or a URL that fsspec "
            "knows and whose package is installed (s3fs for s3://, gcsfs for gs://)"
        ) from error
    if not root.strip("/") or ".." in PurePosixPath(root).parts:
        raise CacheError(f"expected a file or folder below the root of its store, got {location}")
    return store, root


@contextmanager
def _store_errors(message: str) -> Iterator[None]:
    """Raise StoreError with a message for any error in the block."""
    try:
        yield
    except CacheError:
        raise
    except Exception as error:  # every store has its own types of errors
        raise StoreError(
            f"{message} ({type(error).__name__}: {error}): is the address right, and do you have access?"
        ) from error
