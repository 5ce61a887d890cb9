"""Text of tokens where byte-level BPE splits characters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.format.vocabulary import Vocabulary

BYTES = Vocabulary([bytes([b]) for b in range(256)])


@given(st.text())
def test_single_bytes_come_back_as_the_text(text):
    data = text.encode("utf-8", "replace")
    pieces = BYTES.pieces(list(data))
    assert "".join(p.text for p in pieces) == data.decode()
    assert [p.first for p in pieces] == [sum(q.n_tokens for q in pieces[:i]) for i in range(len(pieces))]
    assert all(len(p.text) == 1 for p in pieces)


@given(st.binary(max_size=30))
def test_any_bytes_can_be_shown_and_every_token_is_in_one_piece(data):
    pieces = BYTES.pieces(list(data))
    assert sum(p.n_tokens for p in pieces) == len(data)


def test_a_split_emoji_is_one_piece():
    whole = "a🙂b".encode()
    vocabulary = Vocabulary([whole[:3], whole[3:5], whole[5:]])
    pieces = vocabulary.pieces([0, 1, 2])
    assert [(p.text, p.first, p.n_tokens) for p in pieces] == [("a🙂", 0, 2), ("b", 2, 1)]


def test_a_window_that_begins_or_ends_inside_a_character_shows_bytes():
    data = list("漢".encode())
    assert [p.text for p in BYTES.pieces(data[1:])] == ["\\xbc", "\\xa2"]
    assert [p.text for p in BYTES.pieces(data[:2])] == ["\\xe6\\xbc"]
    assert [p.text for p in BYTES.pieces([0xE6, ord("a")])] == ["\\xe6", "a"]


def test_an_unknown_token_is_refused():
    with pytest.raises(IndexError, match="from 0 to 255, got 256"):
        BYTES.text(256)
