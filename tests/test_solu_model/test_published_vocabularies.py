"""Token text with the vocabularies of published models, where a folder with them is given.

SOLU_TOKENIZERS names a folder with gpt-neox-20b.tokenizer.json, gpt2.encoder.json and gpt2.vocab.bpe; they
are too large to keep here.
"""

import os
import unicodedata
from pathlib import Path

import pytest
from test_token_text import TEXTS, check
from tokenizers import Tokenizer
from tokenizers.implementations import ByteLevelBPETokenizer

from solu_model.token_text import display_pieces, vocabulary_bytes


def _folder() -> Path:
    folder = os.environ.get("SOLU_TOKENIZERS")
    if not folder or not Path(folder).is_dir():
        pytest.skip("SOLU_TOKENIZERS names no folder with the published vocabularies")
    return Path(folder)


@pytest.fixture(scope="module", params=["gpt-neox", "gpt2"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    folder = _folder()
    if request.param == "gpt-neox":
        return Tokenizer.from_file(str(folder / "gpt-neox-20b.tokenizer.json"))
    return ByteLevelBPETokenizer(str(folder / "gpt2.encoder.json"), str(folder / "gpt2.vocab.bpe"))._tokenizer


@pytest.mark.parametrize("text", TEXTS)
def test_text_comes_back_whole(tokenizer: Tokenizer, text: str) -> None:
    table = vocabulary_bytes(tokenizer)
    tokens = [table[i] for i in tokenizer.encode(text, add_special_tokens=False).ids]
    normalised = tokenizer.normalizer.normalize_str(text) if tokenizer.normalizer else text
    assert check(display_pieces(tokens), tokens) == normalised
    if tokenizer.normalizer:  # GPT-NeoX composes
        assert normalised == unicodedata.normalize("NFC", text)


def test_newline_and_two_spaces_are_the_bytes_they_stand_for(tokenizer: Tokenizer) -> None:
    table = vocabulary_bytes(tokenizer)
    assert b"".join(table[i] for i in tokenizer.encode("\n  ").ids) == b"\n  "
    assert table.count(b"") == 0
