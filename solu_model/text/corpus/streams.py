"""Open a file of a corpus: decompressed, and every damage as one error that names the file."""

import bz2
import gzip
import io
import lzma
import os
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryFile
from typing import IO, Any

from solu_model.text.corpus.document import CorpusError
from solu_model.text.corpus.files import CorpusFile

_POINTER = b"version https://git-lfs.github.com/spec/"

_MESSAGE = 300
"""Most characters of another library's message in one of ours."""


@contextmanager
def opened(file: CorpusFile) -> Iterator[IO[bytes]]:
    """Open a file for reading its decompressed bytes once, from the beginning.

    Raises:
        CorpusError: the file cannot be opened, or what the block reads of it is damaged.
    """
    with explained(file), open(file.path, "rb") as stored:
        _refuse_pointer(file, stored.peek(len(_POINTER)))
        if file.compression is None:
            yield stored
        elif file.compression == "zstd":
            import pyarrow as pa

            with pa.CompressedInputStream(pa.PythonFile(stored, "r"), "zstd") as stream:
                yield io.BufferedReader(stream, 2**18)
        else:
            opener: Any = {"gzip": gzip.open, "bz2": bz2.open, "xz": lzma.open}[file.compression]
            with opener(stored, "rb") as stream:
                yield stream


@contextmanager
def seekable(file: CorpusFile) -> Iterator[Any]:
    """Open a file as pyarrow reads it, at any position; one that is compressed is unpacked on disk first.

    Raises:
        CorpusError: as for `opened`.
    """
    import pyarrow as pa

    if file.compression is None:
        # As bytes: pyarrow encodes a string as UTF-8, and takes some for addresses of stores.
        with explained(file), pa.OSFile(os.fsencode(file.path)) as stream:
            _refuse_pointer(file, stream.read(len(_POINTER)))
            stream.seek(0)
            yield stream
        return
    with TemporaryFile() as unpacked:
        with opened(file) as stream:
            shutil.copyfileobj(stream, unpacked, 2**20)
        unpacked.seek(0)
        with explained(file):
            yield pa.PythonFile(unpacked, "r")


@contextmanager
def explained(file: CorpusFile) -> Iterator[None]:
    """Raise CorpusError, which names the file, for every error of reading it."""
    import pyarrow as pa

    try:
        yield
    except CorpusError:
        raise
    except PermissionError as error:
        raise CorpusError(
            f"{file.shown} may not be read by this account: change its mode or owner"
        ) from error
    except (OSError, EOFError, zlib.error, lzma.LZMAError, pa.ArrowException) as error:
        kind = f"{file.kind} in {file.compression}" if file.compression else file.kind
        raise CorpusError(
            f"cannot read {file.shown} as {kind}: {_short(error)}. Is it damaged, or not a {kind} file?"
        ) from error


def _refuse_pointer(file: CorpusFile, head: bytes) -> None:
    """Raise CorpusError for what Git LFS leaves in place of a file that was not downloaded."""
    if head.startswith(_POINTER):
        raise CorpusError(
            f"{file.shown} is a pointer of Git LFS, not the file itself: download it, e.g. with git lfs pull"
        )


def _short(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _MESSAGE else text[:_MESSAGE] + "…"
