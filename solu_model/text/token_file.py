"""A corpus as one packed, memory-mapped file of tokens that knows its documents.

`tokens.bin` holds every document in turn, each with a BOS before it, as uint16 (uint32 for larger
vocabularies). `documents.parquet` holds a row a document: `start` and `n_tokens` (BOS included) in
`tokens.bin`, `n_bytes` of text, and its provenance. `meta.json` says which tokenizer made it.

A row for training is a BOS and the next n_ctx - 1 tokens of the stream, so a row may hold the end of
one document and the start of the next, a BOS between them.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm
from transformers import PreTrainedTokenizerFast

from solu_model.files import written_aside
from solu_model.text.documents import Document
from solu_model.text.tokenizer import encode_texts, tokenizer_hash

_BATCH = 512  # documents tokenized at once

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


@dataclass(frozen=True)
class TokenFileMeta:
    """What `meta.json` says."""

    dtype: str
    n_tokens: int
    """Tokens in `tokens.bin`, one BOS a document included."""
    n_documents: int
    n_bytes: int
    """UTF-8 bytes of text."""
    bos_id: int
    tokenizer: str
    """Hash of the tokenizer, see `tokenizer_hash`."""


def write_token_file(
    documents: Iterator[Document], tokenizer: PreTrainedTokenizerFast, out: Path, *, progress: bool = True
) -> "TokenFile":
    """Tokenize a corpus in one streaming pass.

    The folder is written aside and renamed when it is whole, so `out` is complete or absent.

    Args:
        documents: the corpus, see `read_documents`.
        tokenizer: as made by `train_tokenizer`.
        out: folder to make.
        progress: draw a progress bar.

    Returns:
        The file, opened.
    """
    with written_aside(out) as aside:
        aside.mkdir()
        _write(documents, tokenizer, aside, progress=progress)
    return TokenFile(out)


def _write(
    documents: Iterator[Document], tokenizer: PreTrainedTokenizerFast, out: Path, *, progress: bool
) -> None:
    bos = int(tokenizer.bos_token_id)
    dtype = np.dtype(np.uint16 if len(tokenizer) <= 2**16 else np.uint32)
    n_tokens = n_documents = n_bytes = 0
    bar = tqdm(unit="B", unit_scale=True, desc="tokenizing", disable=not progress)
    with (
        open(out / "tokens.bin", "wb") as stream,
        pq.ParquetWriter(out / "documents.parquet", _DOCUMENTS, compression="zstd") as table,
        bar,
    ):
        while batch := list(islice(documents, _BATCH)):
            rows = []
            for document, ids in zip(batch, encode_texts(tokenizer, [d.text for d in batch]), strict=True):
                np.array([bos, *ids], dtype=dtype).tofile(stream)
                size = len(document.text.encode())
                rows.append(
                    {
                        "start": n_tokens,
                        "n_tokens": len(ids) + 1,
                        "n_bytes": size,
                        "source": document.source,
                        "lang": document.lang,
                        "licence": document.licence,
                        "origin": document.origin,
                    }
                )
                n_tokens += len(ids) + 1
                n_bytes += size
                bar.update(size)
            n_documents += len(rows)
            table.write_table(pa.Table.from_pylist(rows, schema=_DOCUMENTS))
    meta = TokenFileMeta(dtype.name, n_tokens, n_documents, n_bytes, bos, tokenizer_hash(tokenizer))
    (out / "meta.json").write_text(json.dumps(asdict(meta), indent=1) + "\n")


class TokenFile:
    """A token file opened for reading; tokens stay on disk until touched."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.meta = TokenFileMeta(**json.loads((path / "meta.json").read_text()))
            self.tokens: npt.NDArray[Any] = np.memmap(path / "tokens.bin", dtype=self.meta.dtype, mode="r")
        except (OSError, ValueError, TypeError) as error:
            raise ValueError(f"{path} is not a token file ({error}): make it again") from error
        if len(self.tokens) != self.meta.n_tokens:
            raise ValueError(
                f"{path} is damaged: meta.json says {self.meta.n_tokens} tokens, tokens.bin holds "
                f"{len(self.tokens)}. Make it again"
            )

    def documents(self) -> pa.Table:
        """A row a document: start, n_tokens, n_bytes and provenance."""
        return pq.read_table(self.path / "documents.parquet")

    def n_rows(self, n_ctx: int) -> int:
        """Training rows of `n_ctx` tokens; the tail that fills no row is left out."""
        return len(self.tokens) // (n_ctx - 1)

    def row(self, index: int, n_ctx: int) -> npt.NDArray[np.int64]:
        """Training row `index`: `[n_ctx]`, a BOS and n_ctx - 1 tokens of the stream."""
        row = np.empty(n_ctx, dtype=np.int64)
        row[0] = self.meta.bos_id
        start = index * (n_ctx - 1)
        row[1:] = self.tokens[start : start + n_ctx - 1]
        return row

    def document_of(self, index: int, n_ctx: int) -> npt.NDArray[np.int64]:
        """The document each token of training row `index` came from, `[n_ctx]`; -1 for the row's own BOS."""
        starts = self.documents()["start"].to_numpy()
        position = index * (n_ctx - 1) + np.arange(n_ctx - 1)
        return np.concatenate([[-1], np.searchsorted(starts, position, side="right") - 1])
