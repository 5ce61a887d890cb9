"""A token file that was interrupted is continued, and ends as if it had not been."""

import errno
import json
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from solu_model.text import token_file
from solu_model.text.corpus.identity import CorpusIdentity, identify_corpus
from solu_model.text.documents import DEFAULT_OPTIONS, Document, read_documents
from solu_model.text.token_file import TokenFile, TokenFileError, write_token_file
from solu_model.text.tokenization import Tokenization
from solu_model.text.tokenizer import train_tokenizer


class Killed(BaseException):
    """The end of a process, for which no handler is written."""


@pytest.fixture(scope="module")
def documents(corpus: Path) -> list[Document]:
    return list(read_documents([corpus]))


@pytest.fixture(scope="module")
def identity(corpus: Path) -> CorpusIdentity:
    return identify_corpus([corpus], DEFAULT_OPTIONS)


@pytest.fixture(scope="module")
def tokenizer(documents):
    return train_tokenizer((d.text for d in documents), 300)


@pytest.fixture
def saves_each_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of three documents, each saved."""
    monkeypatch.setattr(token_file, "_BATCH", 3)
    monkeypatch.setattr(token_file, "_SECONDS_PER_SAVE", -1.0)


def killed_after(documents: list[Document], n: int) -> Iterator[Document]:
    yield from documents[:n]
    raise Killed


def content(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.name != "documents.parquet"}


@pytest.mark.parametrize("max_tokens", [None, 1500])
def test_a_killed_packing_continues_where_it_was(
    documents, identity, tokenizer, tmp_path, saves_each_batch, monkeypatch, max_tokens
):
    whole = write_token_file(
        iter(documents), tokenizer, tmp_path / "whole", corpus=identity, max_tokens=max_tokens, progress=False
    )
    encoded: list[str] = []
    encode = Tokenization.encode

    def counted(self, texts):
        encoded.extend(texts)
        return encode(self, texts)

    monkeypatch.setattr(Tokenization, "encode", counted)
    for n in (7, 8, 20):
        with pytest.raises(Killed):
            write_token_file(
                killed_after(documents, n), tokenizer, tmp_path / "cut", corpus=identity,
                max_tokens=max_tokens, progress=False,
            )  # fmt: skip
        assert not (tmp_path / "cut").exists()
    # A kill between two saves leaves tokens that no table knows.
    with open(tmp_path / "cut.packing" / "tokens.bin", "ab") as stream:
        stream.write(b"\1\0" * 50)
    cut = write_token_file(
        iter(documents), tokenizer, tmp_path / "cut", corpus=identity, max_tokens=max_tokens, progress=False
    )
    assert content(cut.path) == content(whole.path)
    assert cut.documents().equals(whole.documents())
    assert len(encoded) <= len(documents) + 3 * 3  # at most a batch is lost at each kill
    assert not (tmp_path / "cut.packing").exists()
    if max_tokens is not None:
        starts = cut.documents()["start"].to_pylist()
        assert starts[-1] < max_tokens <= cut.meta.n_tokens


def test_other_text_or_tokenizer_begins_again(documents, identity, tokenizer, tmp_path, saves_each_batch):
    with pytest.raises(Killed):
        write_token_file(
            killed_after(documents, 20), tokenizer, tmp_path / "t", corpus=identity, progress=False
        )
    other = identity.model_copy(update={"options": "column content"})
    packed = write_token_file(iter(documents[5:]), tokenizer, tmp_path / "t", corpus=other, progress=False)
    assert packed.meta.n_documents == len(documents) - 5
    assert packed.corpus() == other


def test_a_data_set_of_a_hub_that_gives_other_rows_is_noticed(
    documents, tokenizer, tmp_path, saves_each_batch
):
    hub = CorpusIdentity(options="", data_sets=["some/name"], files=[])
    with pytest.raises(Killed):
        write_token_file(killed_after(documents, 20), tokenizer, tmp_path / "t", corpus=hub, progress=False)
    with pytest.raises(
        TokenFileError, match=r"was packed from other text than --data holds now: .* remove the folder"
    ):
        write_token_file(iter(documents[1:]), tokenizer, tmp_path / "t", corpus=hub, progress=False)


def test_a_token_file_of_an_earlier_version_names_no_text(documents, tokenizer, tmp_path):
    packed = write_token_file(iter(documents), tokenizer, tmp_path / "t", progress=False)
    assert packed.corpus() is None
    (packed.path / "corpus.json").write_text("{")
    with pytest.raises(TokenFileError, match=r"corpus.json is damaged"):
        TokenFile(packed.path).corpus()


def test_a_full_disk_is_an_error_with_its_number(documents, tokenizer, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match="File too large") as raised:
            write_token_file(iter(documents), tokenizer, tmp_path / "tokens", progress=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert raised.value.errno == errno.EFBIG


@pytest.mark.parametrize("damage", [{"dtype": "uint8"}, {"dtype": "float16"}, {"bos_id": -5}])
def test_a_description_that_no_token_file_has_is_refused(documents, tokenizer, tmp_path, damage):
    write_token_file(iter(documents), tokenizer, tmp_path / "tokens", progress=False)
    meta = tmp_path / "tokens" / "meta.json"
    meta.write_text(json.dumps(json.loads(meta.read_text()) | damage))
    with pytest.raises(TokenFileError, match=r"is not a token file .its .*: make it again"):
        TokenFile(tmp_path / "tokens")
