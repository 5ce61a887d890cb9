"""Places for caches and shards: refused, before a model is loaded, if something else is there."""

import json
from collections.abc import Callable
from pathlib import Path

from cache.format import schema
from cache.format.schema import CacheError
from cache.storage.sealed import SEAL
from cache.storage.stores import Location, kind_of, list_names, local_path, read_start
from solu_model.targets import TargetError, check_target

_MAX_HEADER = 100_000_000
"""Bytes of the header of a safetensors file; the format allows no more."""
_CACHE_NAMES = {
    schema.MANIFEST, schema.CHECKSUMS, schema.VOCABULARY, schema.NEURONS, schema.TOKENS, schema.SAMPLE,
    schema.DOCUMENTS, schema.CONTEXTS, schema.PROFILES, schema.EXAMPLES,
}  # fmt: skip


def check_cache_target(target: Location) -> None:
    """Raise CacheError if a cache may not be written to a location: something else is there.

    An older cache may be replaced. So may a folder of a store that has files of a cache alone, without its
    manifest: an upload was interrupted.
    """
    local = local_path(target)
    if local is not None:
        _check_local(local, "neuron cache", _holds_cache)
        return
    kind = kind_of(target)
    names = list_names(target) if kind == "folder" else set()
    if kind == "file" or (schema.MANIFEST not in names and names - _CACHE_NAMES):
        raise _taken(target, "neuron cache")


def check_shard_target(target: Location) -> None:
    """Raise CacheError if a shard may not be written to a location: something else is there.

    An older shard may be replaced, see `cache.shards.shard_file.check_same_shard`.
    """
    local = local_path(target)
    if local is not None:
        _check_local(local, "shard of a cache", _is_state)
    elif (kind := kind_of(target)) == "folder" or (kind == "file" and not _is_state(target)):
        raise _taken(target, "shard of a cache")


def _check_local(target: Path, kind: str, is_ours: Callable[[Path], bool]) -> None:
    try:
        check_target(target, kind, is_ours)
    except TargetError as error:
        raise CacheError(str(error)) from error


def _taken(target: Location, kind: str) -> CacheError:
    return CacheError(
        f"{target} exists and holds no {kind}: it would be replaced. Give another place for the {kind}, or "
        "remove it first"
    )


def _holds_cache(folder: Path) -> bool:
    """Return True for the folder of a cache of any version, sound or damaged."""
    manifest = folder / schema.MANIFEST
    if not manifest.is_file():
        return False
    if (folder / schema.CHECKSUMS).is_file():
        return True
    try:
        fields = json.loads(manifest.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    # Another program may have a cache.json too.
    return isinstance(fields, dict) and fields.get("format") == schema.FORMAT


def _is_state(file: Location) -> bool:
    """Return True for a file that begins like a state: a safetensors header that names the seal."""
    if kind_of(file) != "file":
        return False
    size = int.from_bytes(read_start(file, 8), "little")
    return 0 < size <= _MAX_HEADER and f'"{SEAL}"'.encode() in read_start(file, 8 + size)[8:]
