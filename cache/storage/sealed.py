"""Sealed safetensors files: the last 32 bytes are the SHA-256 of all bytes before them, to detect damage.

The seal is a tensor of its own, the last by name, so any reader of safetensors can open the file.
"""

import hashlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from cache.format.schema import CacheError
from cache.storage.disk import atomic_write

SEAL = "~sha256"
"""Name of the tensor that holds the seal."""
_N_SEAL = 32  # bytes of a SHA-256
_BYTES_AT_ONCE = 2**20

Arrays = dict[str, npt.NDArray[Any]]


def save_sealed(arrays: Arrays, file: Path) -> None:
    """Write arrays, all or nothing; equal arrays give equal bytes.

    Raises:
        NotWritten: the disk is full.
    """
    # safetensors orders tensors by width of their type, then by name: "~" comes last among the bytes.
    sealed = {name: np.ascontiguousarray(arrays[name]) for name in sorted(arrays)}
    sealed[SEAL] = np.zeros(_N_SEAL, dtype=np.uint8)
    with atomic_write(file, sum(a.nbytes for a in arrays.values())) as aside:
        save_file(sealed, aside)
        with open(aside, "r+b") as stream:
            digest = _digest(stream)
            stream.seek(-_N_SEAL, 2)
            stream.write(digest)


def load_sealed(file: Path) -> Arrays:
    """Read arrays that `save_sealed` wrote.

    Raises:
        CacheError: there is no such file, or any byte of it has changed.
    """
    try:
        with open(file, "rb") as stream:
            digest = _digest(stream)
            stream.seek(-_N_SEAL, 2)
            seal = stream.read()
        if seal != digest:
            raise CacheError(
                f"{file} is damaged: its SHA-256 is not the one at its end. Copy it again, or remove it and "
                "build again"
            )
        with safe_open(file, framework="np") as tensors:
            arrays: Arrays = {name: tensors.get_tensor(name) for name in tensors.keys()}  # noqa: SIM118
        arrays.pop(SEAL)
    except (SafetensorError, OSError, KeyError) as error:
        raise CacheError(
            f"{file} is not a state of a build ({error}): copy it again, or remove it and build again"
        ) from error
    return arrays


def _digest(stream: BinaryIO) -> bytes:
    """Return the SHA-256 of an open file without its seal."""
    digest = hashlib.sha256()
    left = stream.seek(0, 2) - _N_SEAL
    if left < 0:
        raise OSError("it is too short")
    stream.seek(0)
    while left:
        data = stream.read(min(left, _BYTES_AT_ONCE))
        if not data:
            raise OSError("it became shorter while it was read")
        digest.update(data)
        left -= len(data)
    return digest.digest()
