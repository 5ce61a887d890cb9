"""A tokenized corpus on disk, for training: one memory-mapped stream of tokens and a table of documents.

The token file is a folder. `tokens.bin` holds all documents one after another, each after a BOS, as uint16
(uint32 for larger vocabularies). `documents.parquet` has one row per document: `start` and `n_tokens` (BOS
included) in `tokens.bin`, `n_bytes` of text, and its provenance. `meta.json` names the tokenizer by its hash.

A training row is a BOS and the next n_ctx - 1 tokens of the stream. It may therefore hold the end of one
document and the start of the next, with a BOS between them.
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
from solu_model.text.tokenization import Tokenization

_BATCH = 512  # documents tokenized at a time, in parallel by `tokenizers`

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


def write_token_file(
    documents: Iterator[Document], tokenizer: PreTrainedTokenizerFast, out: Path, *, progress: bool = True
) -> "TokenFile":
    """Tokenize a corpus in one streaming pass.

    The folder is written under a temporary name and renamed when it is complete, so `out` is complete or
    absent.

    Args:
        documents: the corpus, see `read_documents`.
        tokenizer: a tokenizer with a BOS, see `train_tokenizer`.
        out: the folder to create.
        progress: draw a progress bar.

    Returns:
        The token file, opened for reading.
    """
    with written_aside(out) as aside:
        aside.mkdir()
        _write(documents, tokenizer, aside, progress=progress)
    return TokenFile(out)


def _write(
    documents: Iterator[Document], tokenizer: PreTrainedTokenizerFast, out: Path, *, progress: bool
) -> None:
    tokenization = Tokenization.for_training(tokenizer)
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
            for document, ids in zip(batch, tokenization.encode([d.text for d in batch]), strict=True):
                np.array(tokenization.context(ids), dtype=dtype).tofile(stream)
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
    meta = TokenFileMeta(
        dtype.name, n_tokens, n_documents, n_bytes, int(tokenizer.bos_token_id), tokenization.sha256
    )
    (out / "meta.json").write_text(json.dumps(asdict(meta), indent=1) + "\n")


class TokenFile:
    """A token file opened for reading. Tokens are memory-mapped: the system reads a page when it is used.

    Args:
        path: the folder that `write_token_file` wrote.

    Raises:
        ValueError: the folder is not a token file, or is damaged.
    """

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
