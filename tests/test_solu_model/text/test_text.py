"""From files to tokens: tokenizer, documents, contexts, packed token files."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solu_model.text.contexts import batches_by_length, document_contexts, pad_batch
from solu_model.text.documents import CorpusError, corpus_bytes, read_documents
from solu_model.text.token_bytes import vocabulary_bytes
from solu_model.text.token_file import TokenFile, write_token_file
from solu_model.text.tokenizer import encode_texts, train_tokenizer

SAMPLE = ["the lamp was lit", "in 1999 there were 1,024 lamps", "naïve 漢字 🙂"] * 5


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(iter(SAMPLE), 290)


@settings(deadline=None)  # the time of an example depends on the load of the machine
@given(text=st.text())
def test_any_text_round_trips(tokenizer, text):
    text = text.encode("utf-8", "replace").decode()
    (ids,) = encode_texts(tokenizer, [text])
    assert b"".join(vocabulary_bytes(tokenizer)[i] for i in ids).decode() == text
    assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text


def test_digits_stand_alone_and_the_bos_comes_first(tokenizer):
    ids = tokenizer("in 1999")["input_ids"]
    assert ids[0] == tokenizer.bos_token_id == 0
    assert [vocabulary_bytes(tokenizer)[i] for i in ids[-4:]] == [b"1", b"9", b"9", b"9"]


def test_the_bos_spelled_out_is_text(tokenizer):
    assert 0 not in encode_texts(tokenizer, ["a <|BOS|> b"])[0]
    assert tokenizer("<|BOS|>")["input_ids"].count(0) == 1


def test_every_token_has_its_bytes(tokenizer):
    table = vocabulary_bytes(tokenizer)
    assert table[0] == b"<|BOS|>"
    assert {b for b in table if len(b) == 1} == {bytes([b]) for b in range(256)}


@pytest.mark.parametrize(("d_vocab", "message"), [(100, "at least 257"), (5000, "give more text")])
def test_an_impossible_vocabulary_is_refused(d_vocab, message):
    with pytest.raises(ValueError, match=message):
        train_tokenizer(iter(SAMPLE), d_vocab)


def test_provenance_and_formats(tmp_path, corpus):
    (tmp_path / "a.jsonl").write_text(
        '{"text": "one", "licence": "MIT", "origin": "here"}\n{"text": ""}\n{"text": "two"}\n'
    )
    (tmp_path / "b.txt").write_text("three\nlines\nhere")
    (tmp_path / "notes.bin").write_bytes(b"\0")
    documents = list(read_documents([tmp_path]))
    assert [d.text for d in documents] == ["one", "two", "three\nlines\nhere"]
    assert (documents[0].licence, documents[0].origin) == ("MIT", "here")
    assert documents[2].source == "b"
    assert len(list(read_documents([corpus, tmp_path]))) == 43
    assert corpus_bytes([tmp_path]) == (tmp_path / "a.jsonl").stat().st_size + 16


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("latin.txt", "caf\xe9".encode("latin-1"), "not UTF-8"),
        ("bad.parquet", b"PAR1 no", "Is it damaged"),
        (
            "columns.jsonl",
            b'{"body": "x"}\n',
            "no text in its column 'text': expected a string, found columns body",
        ),
        ("image.png", b"\x89PNG", "expected a file that ends in .parquet"),
        ("empty.txt", b"", "no text in"),
    ],
)
def test_text_that_cannot_be_read_is_explained(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CorpusError, match=message):
        list(read_documents([tmp_path / name]))


def test_a_folder_without_text_is_explained(tmp_path):
    with pytest.raises(CorpusError, match="holds no text"):
        list(read_documents([tmp_path]))


@given(st.integers(0, 40), st.integers(2, 9))
def test_contexts_cover_a_document_once(n, n_ctx):
    ids = list(range(1, n + 1))
    contexts = list(document_contexts(3, ids, n_ctx, 0))
    assert [t for c in contexts for t in c.tokens[1:].tolist()] == ids
    assert all(c.tokens[0] == 0 and len(c.tokens) <= n_ctx and c.document == 3 for c in contexts)
    assert [c.start for c in contexts] == list(range(0, n, n_ctx - 1))


@given(st.lists(st.integers(1, 9), max_size=50), st.integers(1, 4))
def test_batches_lose_nothing(lengths, size):
    contexts = [c for i, n in enumerate(lengths) for c in document_contexts(i, list(range(n)), 16, 0)]
    grouped = list(batches_by_length(contexts, size, window=3))
    assert sorted(c.document for b in grouped for c in b) == list(range(len(lengths)))
    for batch in grouped:
        tokens, is_token = pad_batch(batch, 0)
        assert tokens.shape == is_token.shape
        assert is_token.sum() == sum(len(c.tokens) for c in batch)


def test_a_token_file_knows_its_documents(tmp_path, corpus, tokenizer):
    documents = list(read_documents([corpus]))
    file = write_token_file(iter(documents), tokenizer, tmp_path / "tokens", progress=False)
    table = file.documents().to_pylist()
    assert file.meta.n_documents == len(table) == 40
    assert [row["origin"] for row in table] == [d.origin for d in documents]
    for row, document in zip(table, documents, strict=True):
        ids = file.tokens[row["start"] : row["start"] + row["n_tokens"]].tolist()
        assert ids == [0, *encode_texts(tokenizer, [document.text])[0]]
        assert row["n_bytes"] == len(document.text.encode())
    n_ctx = 16
    stream = np.concatenate([file.row(i, n_ctx)[1:] for i in range(file.n_rows(n_ctx))])
    np.testing.assert_array_equal(stream, file.tokens[: len(stream)])
    assert all(file.row(i, n_ctx)[0] == 0 for i in range(file.n_rows(n_ctx)))


def test_a_damaged_token_file_is_refused(tmp_path, corpus, tokenizer):
    write_token_file(read_documents([corpus]), tokenizer, tmp_path / "tokens", progress=False)
    with open(tmp_path / "tokens/tokens.bin", "ab") as stream:
        stream.write(b"\0\0")
    with pytest.raises(ValueError, match="is damaged"):
        TokenFile(tmp_path / "tokens")
    (tmp_path / "tokens/meta.json").unlink()
    with pytest.raises(ValueError, match="not a token file"):
        TokenFile(tmp_path / "tokens")
