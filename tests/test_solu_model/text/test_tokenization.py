"""One way text becomes tokens: private copies, the BOS by one rule, offsets, hostile tokenizers."""

import json
import logging
import threading
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from solu_model.text.display_pieces import begins_piece, pieces_of_text
from solu_model.text.token_bytes import vocabulary_bytes
from solu_model.text.tokenization import Tokenization
from solu_model.text.tokenizer import encode_texts, tokenizer_hash, train_tokenizer
from solu_model.text.tokenizer_error import TokenizerError
from tests.tokenizer_kinds import KINDS, tokenizer_of

TEXTS = [
    "Reading one neuron at a time",
    "e\u0301 Café 🙂 isn't\t x",
    " 漢字  ",
    "",
    "a\u0301\u0301b ﬁne\n\n",
    "\u0301",
]


def sizes(d_vocab: int, bos_token_id: int | None = None, n_ctx: int = 32) -> Any:
    """The part of a model's configuration that a tokenization needs."""
    return SimpleNamespace(d_vocab=d_vocab, n_ctx=n_ctx, bos_token_id=bos_token_id)


def changed(tokenizer: PreTrainedTokenizerFast, **fields: object) -> PreTrainedTokenizerFast:
    """The same tokenizer with other fields in its definition."""
    definition = json.loads(tokenizer.backend_tokenizer.to_str())
    for name, value in fields.items():
        part = definition["model"] if name in ("dropout", "vocab") else definition
        part[name] = value
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(definition)), bos_token=tokenizer.bos_token
    )


STORED = [
    {"truncation": {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}},
    {
        "padding": {
            "strategy": "BatchLongest", "direction": "Right", "pad_to_multiple_of": None, "pad_id": 1,
            "pad_type_id": 0, "pad_token": "[BOS]",
        }
    },
    {"dropout": 0.5},
]  # fmt: skip


@pytest.mark.parametrize("fields", STORED, ids=lambda fields: next(iter(fields)))
def test_what_a_tokenizer_stores_does_not_change_the_tokens(fields):
    plain = tokenizer_of("byte-level")
    stored = changed(plain, **fields)
    texts = ["Reading one neuron at a time, " * 9, "x"]
    expected = Tokenization.of(sizes(300, 1), plain)
    found = Tokenization.of(sizes(300, 1), stored)
    assert found.encode(texts) == expected.encode(texts) == encode_texts(stored, texts)
    assert found.encode_with_offsets(texts[0]) == expected.encode_with_offsets(texts[0])
    assert found.sha256 == tokenizer_hash(stored)
    assert (found.sha256 == expected.sha256) == ("dropout" not in fields)


def test_a_shared_tokenizer_may_be_changed_by_others():
    tokenizer = tokenizer_of("byte-level")
    tokenizer.pad_token = "[UNK]"
    text = "Reading one neuron at a time, " * 30
    tokenization = Tokenization.of(sizes(300, 1), tokenizer)
    (expected,) = tokenization.encode([text])
    assert len(expected) > 300
    ended = threading.Event()

    def truncate() -> None:
        while not ended.is_set():
            tokenizer(text, truncation=True, max_length=32)
            tokenizer([text, "x"], padding=True)

    thread = threading.Thread(target=truncate)
    thread.start()
    try:
        for _ in range(20):
            assert tokenization.encode([text, "x"])[0] == expected
            assert encode_texts(tokenizer, [text, "x"])[0] == expected
    finally:
        ended.set()
        thread.join()
    tokenizer(text, truncation=True, max_length=32)
    assert tokenizer_hash(tokenizer) == tokenization.sha256
    assert tokenizer.backend_tokenizer.truncation is not None  # and the shared object stays as others left it


@pytest.mark.parametrize(
    ("bos", "config_bos", "chosen", "expected"),
    [
        ("[BOS]", 1, None, 1),
        ("[BOS]", None, None, 1),
        (None, 5, None, 5),
        ("[BOS]", -1, None, 1),
        ("[BOS]", 5, "1", 1),
        ("[BOS]", 5, 5, 5),
        ("[BOS]", 5, "[UNK]", 0),
        ("[BOS]", 1, "none", None),
        (None, None, "none", None),
        (None, None, "0", 0),
    ],
)
def test_the_bos_by_one_rule(bos, config_bos, chosen, expected):
    made = Tokenization.of(sizes(300, config_bos), tokenizer_of("byte-level", bos), bos=chosen)
    assert made.bos_id == expected
    assert made.context([7, 8]) == ([7, 8] if expected is None else [expected, 7, 8])
    assert (made.n_lead, made.room) == ((0, 32) if expected is None else (1, 31))


@pytest.mark.parametrize(
    ("bos", "config_bos", "chosen", "message"),
    [
        ("[BOS]", 5, None, r"BOS is token 1 '\[BOS\]', and config.json says bos_token_id = 5 .*--bos none"),
        ("[BOS]", 2**39, None, r"config.json says bos_token_id = 549755813888 ''"),
        (None, -1, None, r"neither the tokenizer nor config.json names a BOS"),
        (None, None, None, r"neither the tokenizer nor config.json names a BOS.*--bos none"),
        (None, None, "[CLS]", r"no token '\[CLS\]': expected none, an id below 300"),
        (None, 300, None, r"BOS is token 300, but the model has 0 to 299"),
        (None, None, "99999999999", r"BOS is token 99999999999, but the model has"),
        (None, None, "x" * 5000, r"no token 'x{60}'"),
    ],
)
def test_a_bos_that_is_not_determined_is_refused(bos, config_bos, chosen, message):
    with pytest.raises(TokenizerError, match=message) as error:
        Tokenization.of(sizes(300, config_bos), tokenizer_of("byte-level", bos), bos=chosen)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize("bos", ["none", "1"])
@pytest.mark.parametrize("n_ctx", [2, 7, 32])
def test_contexts_are_cut_with_and_without_a_bos(bos, n_ctx):
    made = Tokenization.of(sizes(300), tokenizer_of("byte-level"), bos=bos, n_ctx=n_ctx)
    ids = list(range(2, 90))
    contexts = list(made.contexts(3, ids))
    assert np.concatenate([c.text_tokens for c in contexts]).tolist() == ids
    assert max(len(c.tokens) for c in contexts) == n_ctx == made.n_ctx
    for context in contexts:
        assert context.tokens.tolist() == made.context(ids[context.start : context.start + made.room])


@pytest.mark.parametrize(("bos", "n_ctx"), [("1", 1), ("1", 33), ("none", 0), ("none", 33)])
def test_contexts_longer_than_the_model_reads_or_without_room_are_refused(bos, n_ctx):
    with pytest.raises(TokenizerError, match=rf"to 32 tokens.* got {n_ctx}: give another --n-ctx"):
        Tokenization.of(sizes(300), tokenizer_of("byte-level"), bos=bos, n_ctx=n_ctx)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", TEXTS)
def test_offsets_cut_any_text_into_pieces_that_are_the_text(kind, text):
    made = Tokenization.by_tokenizer(tokenizer_of(kind), 400, 32)
    ids, offsets = made.encode_with_offsets(text)
    assert ids == made.encode([text])[0]
    start, pieces = pieces_of_text(text, offsets, 0, len(ids))
    assert start == 0
    assert "".join(p.text for p in pieces) == (text if ids else "")
    assert [i for p in pieces for i in range(p.first_token, p.first_token + p.n_tokens)] == [*range(len(ids))]
    units = text.encode("utf-16-le")
    assert all(units[2 * p.start : 2 * p.end].decode("utf-16-le") == p.text for p in pieces)
    # Any part that begins and ends with a piece is cut alike.
    for first in (i for i in range(len(ids)) if begins_piece(offsets, i)):
        start, part = pieces_of_text(text, offsets, first, len(ids))
        assert [p.text for p in part] == [p.text for p in pieces if p.first_token >= first]
        assert start == sum(p.end - p.start for p in pieces if p.first_token < first)


def test_a_mark_that_a_normalizer_composed_stays_with_its_letter():
    made = Tokenization.by_tokenizer(tokenizer_of("nfc-lower"), 300, 32)
    ids, offsets = made.encode_with_offsets("Cafe\u0301 x")
    _, pieces = pieces_of_text("Cafe\u0301 x", offsets, 0, len(ids))
    assert "e\u0301" in [p.text for p in pieces]


@pytest.mark.parametrize("kind", KINDS)
def test_the_text_of_tokens_is_the_text_read(kind):
    made = Tokenization.by_tokenizer(tokenizer_of(kind), 400, 32)
    (ids,) = made.encode(["Reading one neuron at a time"])
    text = b"".join(made.token_bytes[i] for i in ids).decode()
    lower = kind in ("nfc-lower", "wordpiece")
    assert text.lstrip() == ("reading" if lower else "Reading") + " one neuron at a time"


def test_suffixes_of_words_become_spaces():
    from tokenizers import decoders, models

    made = Tokenizer(models.BPE({"th": 0, "e</w>": 1, "x</w>": 2}, [], end_of_word_suffix="</w>"))
    made.decoder = decoders.BPEDecoder(suffix="</w>")
    assert vocabulary_bytes(made) == [b"th", b"e ", b"x "]


def test_tokens_of_single_characters_are_read_as_they_are():
    from tokenizers import models, pre_tokenizers

    made = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1, "b": 2, " ": 3}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    assert b"".join(vocabulary_bytes(made)[i] for i in made.encode("ab a").ids) == b"ab a"


def test_a_vocabulary_is_bounded_by_the_embedding():
    definition = json.loads(tokenizer_of("byte-level").backend_tokenizer.to_str())
    definition["model"]["vocab"]["zzz"] = 30_000_000
    huge = Tokenizer.from_str(json.dumps(definition))
    assert len(vocabulary_bytes(huge, 300)) == 300
    begin = time.monotonic()
    with pytest.raises(TokenizerError, match=r"d_vocab = 300 with a tokenizer of 301 tokens, .*30,000,000"):
        Tokenization.of(sizes(300, 1), huge)
    assert time.monotonic() - begin < 1


def test_one_special_token_more_than_the_embedding_has_rows(caplog):
    tokenizer = tokenizer_of("byte-level")
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    with caplog.at_level(logging.WARNING):
        made = Tokenization.of(sizes(300, 1), tokenizer)
    assert "no embedding for the special tokens '[PAD]', which no text gives" in caplog.text
    (ids,) = made.encode(["a [PAD] b"])
    assert max(ids) < 300
    assert len(made.token_bytes) == 300


def test_a_padded_embedding_is_said(caplog):
    with caplog.at_level(logging.WARNING):
        made = Tokenization.of(sizes(700, 1), tokenizer_of("byte-level"))
    assert "400 of the model's 700 tokens are in no text" in caplog.text
    assert len(made.token_bytes) == 300


@pytest.mark.parametrize("d_vocab", [299, 1400, 10**6])
def test_a_tokenizer_of_another_model_is_refused(d_vocab):
    with pytest.raises(TokenizerError, match=rf"d_vocab = {d_vocab} with a tokenizer of 300 tokens"):
        Tokenization.of(sizes(d_vocab, 1), tokenizer_of("byte-level"))


def test_a_text_whose_token_has_no_embedding_is_refused_by_name():
    tokenizer = tokenizer_of("byte-level")
    tokenizer.add_tokens(["neuron"])
    made = Tokenization.of(sizes(300, 1), tokenizer)
    assert made.encode(["no such word"])
    for encode in (lambda text: made.encode([text]), made.encode_with_offsets):
        with pytest.raises(TokenizerError, match=r"token 300 'neuron', for which the model has no embedding"):
            encode("one neuron")


@pytest.mark.parametrize(
    "pattern", ["(a+)+$", r"(\w+\s?)+$", "(x+x+)+y", r"([0-9]+)*\?", "(🦊+)+$", "(#+)+$"]
)
def test_a_catastrophic_pattern_is_refused_within_a_second(pattern):
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    tokenizer = changed(tokenizer_of("byte-level"), pre_tokenizer=split)
    begin = time.monotonic()
    with pytest.raises(TokenizerError, match=r"exponential time.*repair its tokenizer.json"):
        Tokenization.of(sizes(300, 1), tokenizer)
    assert time.monotonic() - begin < 2  # 0.2 s alone


def test_a_panic_in_the_middle_of_a_text_is_an_error():
    tokenizer = tokenizer_of("byte-level")
    split = {"type": "Split", "pattern": {"Regex": "(ñ+)+$"}, "behavior": "Isolated", "invert": False}
    with pytest.raises(TokenizerError, match="exponential time"):
        encode_texts(changed(tokenizer, pre_tokenizer=split), ["ñ" * 60 + "!"])


def test_half_a_character_is_an_error():
    made = Tokenization.of(sizes(300, 1), tokenizer_of("byte-level"))
    for encode in (lambda text: made.encode([text]), made.encode_with_offsets):
        with pytest.raises(TokenizerError, match="halves of surrogate pairs"):
            encode("a\ud83d")


def test_a_slow_tokenizer_class_is_refused():
    with pytest.raises(TokenizerError, match="expected a fast tokenizer"):
        Tokenization.of(sizes(300, 1), SimpleNamespace(bos_token_id=1))


def test_equal_tokenizations_are_equal():
    one, other = (Tokenization.of(sizes(300, 1), tokenizer_of("byte-level")) for _ in range(2))
    assert one == other
    assert one != one.with_bos(None)
    assert one != one.cut_to(8)
    with pytest.raises(AttributeError):
        one.bos_id = 3


def test_training_needs_a_bos():
    assert Tokenization.for_training(train_tokenizer(iter([]), 257), 8).context([5]) == [0, 5]
    with pytest.raises(TokenizerError, match="has no BOS, with which every row of training begins"):
        Tokenization.for_training(tokenizer_of("byte-level", None))
