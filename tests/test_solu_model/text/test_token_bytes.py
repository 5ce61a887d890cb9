"""Bytes of tokens, and pieces of whole characters with offsets in UTF-16 code units.

SOLU_TOKENIZERS may name a folder with gpt-neox-20b.tokenizer.json, gpt2.encoder.json and gpt2.vocab.bpe,
which are too large to keep here: the tests of published vocabularies then run too.
"""

import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from tokenizers.implementations import ByteLevelBPETokenizer

from solu_model.text.display_pieces import Piece, display_pieces, utf16_length
from solu_model.text.token_bytes import byte_alphabet, decode_vocabulary, vocabulary_bytes

TEXTS = [
    "plain words",
    "tea ☕ and 🦜🧠 parrots",
    "家族 👩‍👩‍👧 四人",
    "中文分词不容易",
    "e\u0301tude, n\u0303, क्षि",
    "\n  ",
    "a\n  b\r\n\t c",
    "\x00\x7f naïve €",
]


def small_tokenizer() -> Tokenizer:
    """Train a byte-level BPE with few tokens, so that most characters outside ASCII are split."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|BOS|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*TEXTS, "🦜" * 5], trainer)
    tokenizer.add_tokens([AddedToken("  ", normalized=False), AddedToken("ünder", normalized=False)])
    return tokenizer


def check(pieces: list[Piece], tokens: list[bytes]) -> str:
    """Check the invariants of a list of pieces; return their text."""
    text = "".join(p.text for p in pieces)
    assert text == b"".join(tokens).decode(errors="replace")
    assert [i for p in pieces for i in range(p.first_token, p.first_token + p.n_tokens)] == [
        *range(len(tokens))
    ]
    units = text.encode("utf-16-le")
    for piece in pieces:
        assert units[2 * piece.start : 2 * piece.end].decode("utf-16-le") == piece.text
    return text


@pytest.mark.parametrize("text", TEXTS)
def test_text_comes_back_whole_through_a_tokenizer(text: str) -> None:
    tokenizer = small_tokenizer()
    table = vocabulary_bytes(tokenizer)
    tokens = [table[i] for i in tokenizer.encode(text).ids]
    pieces = display_pieces(tokens)
    assert check(pieces, tokens) == text
    assert "\ufffd" not in text


def test_tokens_of_one_character_are_one_piece() -> None:
    parrot = "🦜".encode()
    pieces = display_pieces([b"a", parrot[:2], parrot[2:3], parrot[3:], "é".encode()])
    assert pieces == [Piece("a", 0, 1, 0, 1), Piece("🦜", 1, 3, 1, 3), Piece("é", 4, 1, 3, 4)]


def test_a_token_that_ends_one_character_and_begins_the_next_joins_both() -> None:
    first, second = "中".encode(), "文".encode()
    pieces = display_pieces([first[:1], first[1:] + second[:2], second[2:], b"!"])
    assert [(p.text, p.n_tokens) for p in pieces] == [("中文", 3), ("!", 1)]


def test_rows_may_begin_and_end_inside_a_character() -> None:
    parrot = "🦜".encode()
    pieces = display_pieces([parrot[2:], b"x", parrot[:1], parrot[1:3]])
    assert [p.text for p in pieces] == ["\ufffd\ufffd", "x", "\ufffd"]
    assert pieces[-1].n_tokens == 2


def test_combining_marks_stay_with_their_token() -> None:
    pieces = display_pieces([b"e", "\u0301".encode(), b"t"])
    assert [(p.text, p.start) for p in pieces] == [("e", 0), ("\u0301", 1), ("t", 2)]


def test_empty_rows_and_tokens() -> None:
    assert display_pieces([]) == []
    assert display_pieces([b"", b"a", b""]) == [
        Piece("", 0, 1, 0, 0),
        Piece("a", 1, 1, 0, 1),
        Piece("", 2, 1, 1, 1),
    ]


@given(st.lists(st.binary(max_size=5), max_size=20))
def test_pieces_of_any_bytes(tokens: list[bytes]) -> None:
    check(display_pieces(tokens), tokens)


@given(st.text(max_size=30), st.data())
def test_pieces_of_any_text_cut_anywhere(text: str, data: st.DataObject) -> None:
    raw = text.encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=8)))
    tokens = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    assert check(display_pieces(tokens), tokens) == text
    assert all("\ufffd" not in p.text for p in display_pieces(tokens)) or "\ufffd" in text


@given(st.text())
def test_utf16_length(text: str) -> None:
    assert utf16_length(text) == len(text.encode("utf-16-le")) // 2


def test_the_alphabet_is_that_of_byte_level_bpe() -> None:
    assert sorted(byte_alphabet()) == sorted(pre_tokenizers.ByteLevel.alphabet())
    assert sorted(byte_alphabet().values()) == [*range(256)]
    for text in TEXTS:
        spelled = pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str(text)
        assert bytes(byte_alphabet()[c] for token, _ in spelled for c in token) == text.encode()


def test_added_tokens_are_plain_text_and_gaps_are_empty() -> None:
    tokenizer = small_tokenizer()
    table = vocabulary_bytes(tokenizer)
    assert table[tokenizer.token_to_id("<|BOS|>")] == b"<|BOS|>"
    assert table[tokenizer.token_to_id("  ")] == b"  "
    assert table[tokenizer.token_to_id("ünder")] == "ünder".encode()
    assert decode_vocabulary({"a": 0, "b": 3}, {}) == [b"a", b"", b"", b"b"]
    assert decode_vocabulary({}, {}) == []


def test_sentencepiece_with_byte_fallback() -> None:
    assert decode_vocabulary({"<0x0A>": 0, "▁the": 1, "é": 2}, {}) == [b"\n", b" the", "é".encode()]


def test_a_token_outside_the_byte_alphabet_stands_for_itself() -> None:
    assert decode_vocabulary({"a": 0, "▁the": 1}, {}) == [b"a", "▁the".encode()]


def test_importing_it_imports_no_torch() -> None:
    heavy = "'torch' in sys.modules or 'transformers' in sys.modules"
    modules = "solu_model.text.display_pieces, solu_model.text.token_bytes"
    code = f"import sys, {modules}; sys.exit({heavy})"
    subprocess.run([sys.executable, "-c", code], check=True)


def _folder() -> Path:
    folder = os.environ.get("SOLU_TOKENIZERS")
    if not folder or not Path(folder).is_dir():
        pytest.skip("SOLU_TOKENIZERS names no folder with the published vocabularies")
    return Path(folder)


@pytest.fixture(scope="module", params=["gpt-neox", "gpt2"])
def published(request: pytest.FixtureRequest) -> Tokenizer:
    folder = _folder()
    if request.param == "gpt-neox":
        return Tokenizer.from_file(str(folder / "gpt-neox-20b.tokenizer.json"))
    return ByteLevelBPETokenizer(str(folder / "gpt2.encoder.json"), str(folder / "gpt2.vocab.bpe"))._tokenizer


@pytest.mark.parametrize("text", TEXTS)
def test_text_comes_back_whole_through_a_published_vocabulary(published: Tokenizer, text: str) -> None:
    table = vocabulary_bytes(published)
    tokens = [table[i] for i in published.encode(text, add_special_tokens=False).ids]
    normalised = published.normalizer.normalize_str(text) if published.normalizer else text
    assert check(display_pieces(tokens), tokens) == normalised
    if published.normalizer:  # GPT-NeoX normalises to NFC
        assert normalised == unicodedata.normalize("NFC", text)


def test_newline_and_two_spaces_are_the_bytes_they_stand_for(published: Tokenizer) -> None:
    table = vocabulary_bytes(published)
    assert b"".join(table[i] for i in published.encode("\n  ").ids) == b"\n  "
    assert table.count(b"") == 0
