"""A safetensors file that knows when it is damaged: its last 32 bytes are the SHA-256 of all before them.

They are a tensor like the others, the last by name, so any reader of safetensors can open the file.
"""

import hashlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from cache.format.schema import CacheError
from cache.storage.disk import written

SEAL = "~sha256"
_N = 32
_AT_ONCE = 2**20

Arrays = dict[str, npt.NDArray[Any]]


def save_sealed(arrays: Arrays, file: Path) -> None:
    """Write arrays, aside and then renamed; equal arrays give equal bytes.

    Raises:
        NotWritten: there is no room for it.
    """
    # Bytes last and by name: safetensors puts wider types first.
    sealed = {name: np.ascontiguousarray(arrays[name]) for name in sorted(arrays)}
    sealed[SEAL] = np.zeros(_N, dtype=np.uint8)
    with written(file, sum(a.nbytes for a in arrays.values())) as aside:
        save_file(sealed, aside)
        with open(aside, "r+b") as stream:
            digest = _digest(stream)
            stream.seek(-_N, 2)
            stream.write(digest)


def load_sealed(file: Path) -> Arrays:
    """Read what `save_sealed` wrote.

    Raises:
        CacheError: it is not there, or any byte of it is not what was written.
    """
    try:
        with open(file, "rb") as stream:
            digest = _digest(stream)
            stream.seek(-_N, 2)
            seal = stream.read()
        if seal != digest:
            raise CacheError(
                f"{file} is damaged: its SHA-256 is not the one that it ends with. Copy it again, or remove "
                "it and build again"
            )
        with safe_open(file, framework="np") as found:
            arrays: Arrays = {name: found.get_tensor(name) for name in found.keys()}  # noqa: SIM118
        arrays.pop(SEAL)
    except (SafetensorError, OSError, KeyError) as error:
        raise CacheError(
            f"{file} is no state of a build ({error}): copy it again, or remove it and build again"
        ) from error
    return arrays


def _digest(stream: BinaryIO) -> bytes:
    """SHA-256 of an open file but for its seal."""
    digest = hashlib.sha256()
    left = stream.seek(0, 2) - _N
    if left < 0:
        raise OSError("it is too short")
    stream.seek(0)
    while left:
        data = stream.read(min(left, _AT_ONCE))
        if not data:
            raise OSError("it became shorter while it was read")
        digest.update(data)
        left -= len(data)
    return digest.digest()
