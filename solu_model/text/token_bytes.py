"""The bytes of every token of a vocabulary: byte-level BPE, SentencePiece, WordPiece, Unigram and others.

Imports neither torch nor transformers, so that the pages and the cache can use it at no cost.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

_AT_ONCE = 4096
"""Tokens that are decoded together."""
_SENTENCEPIECE_NEWLINE = "<0x0A>"
_SENTENCEPIECE_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


def vocabulary_bytes(tokenizer: Any, d_vocab: int | None = None) -> list[bytes]:
    """Return the bytes of every token of a tokenizer, by id: the text that it adds after another token.

    Args:
        tokenizer: a tokenizer of transformers (with a `backend_tokenizer`) or of tokenizers.
        d_vocab: rows of the model's embedding: tokens from there on are left out.

    Returns:
        One entry for each id up to the highest; unused ids are empty. Added tokens, including special ones,
        are the UTF-8 of their text.
    """
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    # The table has an entry for each id, so an id of 30 million would take hundreds of megabytes.
    limit = float("inf") if d_vocab is None else d_vocab
    vocabulary = {token: i for token, i in backend.get_vocab().items() if i < limit}
    added = {i: str(t.content) for i, t in backend.get_added_tokens_decoder().items() if i < limit}
    # The definition without its vocabulary, which may take megabytes, is small.
    decoder = backend.decoder.__getstate__().decode() if backend.decoder is not None else ""
    if _SENTENCEPIECE_NEWLINE in vocabulary or '"ByteLevel"' in decoder or _is_byte_level(vocabulary, added):
        return decode_vocabulary(vocabulary, added)
    return _table(_decoded(backend, decoder, vocabulary, added), added)


def decode_vocabulary(vocabulary: Mapping[str, int], added: Mapping[int, str]) -> list[bytes]:
    """Return the bytes of every token of a vocabulary, by id.

    Args:
        vocabulary: id by token. Tokens are spelled in the byte-level alphabet (`Ġthe`), or as in
            SentencePiece with a byte fallback (`▁the`, `<0x0A>`).
        added: text by id of the tokens that were added as plain text.

    Returns:
        One entry for each id up to the highest. A token with a character outside the byte-level alphabet
        stands for its own UTF-8, as in the decoder of the library `tokenizers`.
    """
    # With a byte fallback, SentencePiece has a token for each byte; a byte-level BPE has no such spelling.
    sentencepiece = _SENTENCEPIECE_NEWLINE in vocabulary
    spelled = {i: token for token, i in vocabulary.items() if i not in added}
    return _table(
        {
            i: _sentencepiece_bytes(token) if sentencepiece else _byte_level_bytes(token)
            for i, token in spelled.items()
        },
        added,
    )


def byte_alphabet() -> dict[str, int]:
    """Return the byte that each character of the byte-level BPE alphabet stands for.

    A printable Latin-1 character stands for itself. The other 68 bytes, in order, are U+0100 and the
    characters after it. The definition is `bytes_to_unicode` of GPT-2's encoder.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in set(printable)]
    return {chr(b): b for b in printable} | {chr(0x100 + i): b for i, b in enumerate(others)}


_BYTE_OF_CHARACTER = byte_alphabet()


def _byte_level_bytes(token: str) -> bytes:
    try:
        return bytes(_BYTE_OF_CHARACTER[character] for character in token)
    except KeyError:
        return token.encode()


def _sentencepiece_bytes(token: str) -> bytes:
    if match := _SENTENCEPIECE_BYTE.fullmatch(token):
        return bytes([int(match[1], 16)])
    return token.replace("\u2581", " ").encode()  # SentencePiece writes a space as U+2581


def _is_byte_level(vocabulary: Mapping[str, int], added: Mapping[int, str]) -> bool:
    """Return True if the tokens have the spelling of a byte-level BPE: each of its 256 characters is a token.

    Tokenizers without a decoder, as GPT-2's older files, have nothing else to tell them by.
    """
    return all(c in vocabulary for c in _BYTE_OF_CHARACTER) and all(
        i in added or _BYTE_OF_CHARACTER.keys() >= set(token) for token, i in vocabulary.items()
    )


def _decoded(
    backend: Any, decoder: str, vocabulary: Mapping[str, int], added: Mapping[int, str]
) -> dict[int, bytes]:
    """Return, by id, the text that the tokenizer's own decoder adds for a token that follows another one."""
    ids = sorted(i for i in vocabulary.values() if i not in added)
    if not decoder and any(" " in token for token, i in vocabulary.items() if i not in added):
        # Without a decoder the library puts a space between tokens; here spaces are tokens, or in tokens.
        return {i: token.encode() for token, i in vocabulary.items() if i not in added}
    suffix = json.loads(decoder).get("suffix", "") if '"BPEDecoder"' in decoder else ""
    if suffix:  # its last token loses the space that others have
        spelling = {i: token for token, i in vocabulary.items()}
        return {i: spelling[i].replace(suffix, " ").encode() for i in ids}
    texts = _decode_all(backend, [[i] for i in ids])
    # A token whose text cannot change in company: letters alone.
    before = next((i for i, text in zip(ids, texts, strict=True) if text.isalpha() and text.isascii()), None)
    if before is None:
        return {i: text.encode() for i, text in zip(ids, texts, strict=True)}
    (head,) = _decode_all(backend, [[before]])
    pairs = _decode_all(backend, [[before, i] for i in ids])
    return {
        i: (pair[len(head) :] if pair.startswith(head) else text).encode()
        for i, pair, text in zip(ids, pairs, texts, strict=True)
    }


def _decode_all(backend: Any, rows: Sequence[Sequence[int]]) -> list[str]:
    texts: list[str] = []
    for first in range(0, len(rows), _AT_ONCE):
        texts += backend.decode_batch(rows[first : first + _AT_ONCE], skip_special_tokens=False)
    return texts


def _table(tokens: Mapping[int, bytes], added: Mapping[int, str]) -> list[bytes]:
    """Return a list of the bytes by id; those of added tokens are the UTF-8 of their text."""
    table = [b""] * (max([*tokens, *added], default=-1) + 1)
    for i, data in tokens.items():
        table[i] = data
    for i, text in added.items():
        table[i] = text.encode("utf-8", errors="surrogatepass")
    return table
