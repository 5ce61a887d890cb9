"""A tokenized corpus on disk, for training: one memory-mapped stream of tokens and a table of documents.

The token file is a folder. `tokens.bin` holds all documents one after another, each after a BOS, as uint16
(uint32 for larger vocabularies). `documents.parquet` has one row per document: `start` and `n_tokens` (BOS
included) in `tokens.bin`, `n_bytes` of text, and its provenance. `meta.json` names the tokenizer by its hash,
`corpus.json` the text (older files have none).

While it is written, the folder is called `NAME.packing`. After a kill the same call continues it.

A training row is a BOS and the next n_ctx - 1 tokens of the stream. It may therefore hold the end of one
document and the start of the next, with a BOS between them.
"""

import hashlib
import json
import math
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError
from tqdm import tqdm
from transformers import PreTrainedTokenizerFast

from solu_model.files import remove, written_aside
from solu_model.text.corpus.identity import CorpusIdentity, corpus_differences
from solu_model.text.documents import Document, in_batches
from solu_model.text.tokenization import Tokenization

_BATCH = 512  # most documents tokenized at a time, in parallel by `tokenizers`
_SECONDS_PER_SAVE = 30.0

_DOCUMENTS = pa.schema(
    [
        ("start", pa.int64()),
        ("n_tokens", pa.int64()),
        ("n_bytes", pa.int64()),
        ("source", pa.string()),
        ("lang", pa.string()),
        ("licence", pa.string()),
        ("origin", pa.string()),
    ]
)


class TokenFileError(ValueError):
    """A token file cannot be read or continued. The message states what was found and the fix."""


@dataclass(frozen=True)
class TokenFileMeta:
    """The contents of `meta.json`."""

    dtype: str
    """numpy's name of the type of a token, `uint16` or `uint32`."""
    n_tokens: int
    """Tokens in `tokens.bin`, including one BOS per document."""
    n_documents: int
    n_bytes: int
    """UTF-8 bytes of text."""
    bos_id: int
    """Id of the BOS token."""
    tokenizer: str
    """SHA-256 of the tokenizer, see `tokenizer_hash`."""


class _Packed(BaseModel):
    """The part of a token file that is written: the content of `packing.json`."""

    model_config = ConfigDict(extra="forbid")

    dtype: str
    tokenizer: str
    corpus: CorpusIdentity
    n_documents: int = 0
    n_tokens: int = 0
    n_bytes: int = 0
    digest: str = ""
    """SHA-256 of the digest before and the text, over all documents."""
    n_tables: int = 0
    """Number of the files `documents-K.parquet`."""


def write_token_file(
    documents: Iterator[Document],
    tokenizer: PreTrainedTokenizerFast,
    out: Path,
    *,
    corpus: CorpusIdentity | None = None,
    max_tokens: int | None = None,
    progress: bool = True,
) -> "TokenFile":
    """Tokenize a corpus in one streaming pass.

    The folder is written under a temporary name and renamed when it is complete, so `out` is complete or
    absent. If `corpus` is given, the same call continues after a kill: documents that are packed are read
    again, but not tokenized.

    Args:
        documents: the corpus, see `read_documents`.
        tokenizer: a tokenizer with a BOS, see `train_tokenizer`.
        out: the folder to create.
        corpus: the identity of the text.
        max_tokens: stop after the documents that reach this number; None: pack all.
        progress: draw a progress bar.

    Returns:
        The token file, opened for reading.

    Raises:
        TokenFileError: what a killed call left is of other documents.
    """
    tokenization = Tokenization.for_training(tokenizer)
    folder = out.with_name(out.name + ".packing")
    text = corpus or CorpusIdentity(options="", data_sets=[], files=[])
    dtype = "uint16" if len(tokenizer) <= 2**16 else "uint32"
    begun = _Packed(dtype=dtype, tokenizer=tokenization.sha256, corpus=text)
    packed = None if corpus is None else _interrupted(folder, begun)
    if packed is not None and not _skip(documents, packed):
        raise TokenFileError(
            f"{folder} was packed from other text than --data holds now: give that text, or remove the folder"
        )
    if packed is None:
        remove(folder)
        folder.mkdir(parents=True)
        packed = begun
    _pack(documents, tokenization, folder, packed, max_tokens, progress=progress)
    _finish(folder, packed, tokenization, corpus)
    with written_aside(out) as aside:
        folder.rename(aside)
    return TokenFile(out)


def _interrupted(folder: Path, begun: _Packed) -> _Packed | None:
    """Return the state in a folder that the same call left, None if there is none."""
    try:
        packed = _Packed.model_validate_json((folder / "packing.json").read_bytes())
    except (OSError, ValidationError):
        return None
    is_same = (packed.dtype, packed.tokenizer) == (begun.dtype, begun.tokenizer)
    if not is_same or corpus_differences(packed.corpus, begun.corpus):
        return None
    stream = folder / "tokens.bin"
    is_whole = stream.is_file() and stream.stat().st_size >= packed.n_tokens * np.dtype(packed.dtype).itemsize
    return packed if is_whole else None


def _skip(documents: Iterator[Document], packed: _Packed) -> bool:
    """Read the documents that are packed; return False if they are other ones."""
    digest, n_documents = "", 0
    for document in islice(documents, packed.n_documents):
        digest, n_documents = _chained(digest, document), n_documents + 1
    return (digest, n_documents) == (packed.digest, packed.n_documents)


def _chained(digest: str, document: Document) -> str:
    return hashlib.sha256(digest.encode() + document.text.encode()).hexdigest()


def _pack(
    documents: Iterator[Document],
    tokenization: Tokenization,
    folder: Path,
    packed: _Packed,
    max_tokens: int | None,
    *,
    progress: bool,
) -> None:
    """Tokenize documents after those in `packed`, which is saved now and then."""
    dtype = np.dtype(packed.dtype)
    stream_path = folder / "tokens.bin"
    stream_path.touch()
    bar = tqdm(unit="B", unit_scale=True, desc="tokenizing", initial=packed.n_bytes, disable=not progress)
    most = math.inf if max_tokens is None else max_tokens
    rows: list[dict[str, Any]] = []
    last_saved = time.monotonic()
    with open(stream_path, "r+b") as stream, bar:
        stream.truncate(packed.n_tokens * dtype.itemsize)  # what came after the last save is packed again
        stream.seek(0, os.SEEK_END)
        wanted = documents if packed.n_tokens < most else iter(())
        for batch in in_batches(wanted, _BATCH, lambda document: document.text):
            for document, ids in zip(batch, tokenization.encode([d.text for d in batch]), strict=True):
                stream.write(np.array(tokenization.context(ids), dtype=dtype).data)
                n_bytes = len(document.text.encode())
                rows.append(
                    {
                        "start": packed.n_tokens,
                        "n_tokens": len(ids) + 1,
                        "n_bytes": n_bytes,
                        "source": document.source,
                        "lang": document.lang,
                        "licence": document.licence,
                        "origin": document.origin,
                    }
                )
                packed.n_tokens += len(ids) + 1
                packed.n_bytes += n_bytes
                packed.n_documents += 1
                packed.digest = _chained(packed.digest, document)
                bar.update(n_bytes)
                # Between two documents, so that the end does not depend on where packing was interrupted.
                if packed.n_tokens >= most:
                    break
            if packed.n_tokens >= most:
                break
            if time.monotonic() - last_saved > _SECONDS_PER_SAVE:
                _save(stream, rows, folder, packed)
                last_saved = time.monotonic()
        _save(stream, rows, folder, packed)


def _save(stream: IO[bytes], rows: list[dict[str, Any]], folder: Path, packed: _Packed) -> None:
    """Save what is packed, so that a kill after it loses nothing of it; empty `rows`."""
    stream.flush()
    os.fsync(stream.fileno())
    table = pa.Table.from_pylist(rows, schema=_DOCUMENTS)
    with open(folder / f"documents-{packed.n_tables}.parquet", "wb") as file:
        pq.write_table(table, file, compression="zstd")
    packed.n_tables += 1
    rows.clear()
    with written_aside(folder / "packing.json") as aside:
        aside.write_text(packed.model_dump_json(), encoding="utf-8")


def _finish(folder: Path, packed: _Packed, tokenization: Tokenization, corpus: CorpusIdentity | None) -> None:
    """Turn what is packed into a complete token file."""
    parts = [folder / f"documents-{k}.parquet" for k in range(packed.n_tables)]
    with (
        open(folder / "documents.parquet", "wb") as file,
        pq.ParquetWriter(file, _DOCUMENTS, compression="zstd") as out,
    ):
        for part in parts:
            with open(part, "rb") as stream:
                out.write_table(pq.ParquetFile(stream).read())
    if corpus is not None:
        (folder / "corpus.json").write_text(corpus.model_dump_json(indent=1) + "\n", encoding="utf-8")
    bos = tokenization.bos_id
    assert bos is not None  # `Tokenization.for_training` refuses a tokenizer without one
    meta = TokenFileMeta(
        packed.dtype, packed.n_tokens, packed.n_documents, packed.n_bytes, bos, packed.tokenizer
    )
    (folder / "meta.json").write_text(json.dumps(asdict(meta), indent=1) + "\n", encoding="utf-8")
    for file_left in [*parts, folder / "packing.json"]:
        remove(file_left)


class TokenFile:
    """A token file opened for reading. Tokens are memory-mapped: the system reads a page when it is used.

    Args:
        path: the folder that `write_token_file` wrote.

    Raises:
        TokenFileError: the folder is not a token file, or is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.meta = TokenFileMeta(**json.loads((path / "meta.json").read_text()))
            if self.meta.dtype not in ("uint16", "uint32"):
                raise ValueError(f"its tokens are of type {str(self.meta.dtype)[:40]!r}")
            if not 0 <= self.meta.bos_id < 2**32:
                raise ValueError(f"its BOS has the id {self.meta.bos_id}")
            self.tokens: npt.NDArray[Any] = np.memmap(path / "tokens.bin", dtype=self.meta.dtype, mode="r")
        except (OSError, ValueError, TypeError) as error:
            raise TokenFileError(f"{path} is not a token file ({error}): make it again") from error
        if len(self.tokens) != self.meta.n_tokens:
            raise TokenFileError(
                f"{path} is damaged: meta.json says {self.meta.n_tokens} tokens, tokens.bin holds "
                f"{len(self.tokens)}. Make it again"
            )

    def corpus(self) -> CorpusIdentity | None:
        """Return the identity of the text that was packed; None if it was not recorded.

        Raises:
            TokenFileError: the record is damaged.
        """
        try:
            return CorpusIdentity.model_validate_json((self.path / "corpus.json").read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            raise TokenFileError(f"{self.path}/corpus.json is damaged: make the token file again") from error

    def documents(self) -> pa.Table:
        """Return the table of documents: start, n_tokens, n_bytes and provenance."""
        return pq.read_table(self.path / "documents.parquet")

    def n_rows(self, n_ctx: int) -> int:
        """Return the number of training rows of `n_ctx` tokens; the tokens left at the end are unused."""
        return len(self.tokens) // (n_ctx - 1)

    def row(self, index: int, n_ctx: int) -> npt.NDArray[np.int64]:
        """Return training row `index`, `[n_ctx]`: a BOS and n_ctx - 1 tokens of the stream."""
        row = np.empty(n_ctx, dtype=np.int64)
        row[0] = self.meta.bos_id
        start = index * (n_ctx - 1)
        row[1:] = self.tokens[start : start + n_ctx - 1]
        return row
