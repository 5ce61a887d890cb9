"""The bytes of every token of a vocabulary: byte-level BPE, or SentencePiece with a byte fallback.

Imports neither torch nor transformers, so that the pages and the cache can use it at no cost.
"""

import re
from collections.abc import Mapping
from typing import Any

_SENTENCEPIECE_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


def vocabulary_bytes(tokenizer: Any) -> list[bytes]:
    """Return the bytes of every token of a tokenizer, by id.

    Args:
        tokenizer: a tokenizer of transformers (`get_vocab`, `added_tokens_decoder`) or of tokenizers
            (`get_vocab`, `get_added_tokens_decoder`).

    Returns:
        One entry for each id up to the highest; unused ids are empty. Added tokens, including special ones,
        are the UTF-8 of their text.

    Raises:
        ValueError: see `decode_vocabulary`.
    """
    if hasattr(tokenizer, "get_added_tokens_decoder"):
        added = tokenizer.get_added_tokens_decoder()
    else:
        added = tokenizer.added_tokens_decoder
    return decode_vocabulary(tokenizer.get_vocab(), {i: str(token.content) for i, token in added.items()})


def decode_vocabulary(vocabulary: Mapping[str, int], added: Mapping[int, str]) -> list[bytes]:
    """Return the bytes of every token of a vocabulary, by id.

    Args:
        vocabulary: id by token. Tokens are spelled in the byte-level alphabet (`Ġthe`), or as in
            SentencePiece with a byte fallback (`▁the`, `<0x0A>`).
        added: text by id of the tokens that were added as plain text.

    Raises:
        ValueError: a token has neither spelling; the message names it.
    """
    size = max([*vocabulary.values(), *added], default=-1) + 1
    table = [b""] * size
    # With a byte fallback, SentencePiece has a token for each byte; a byte-level BPE has no such spelling.
    sentencepiece = "<0x0A>" in vocabulary
    for token, i in vocabulary.items():
        if i in added:
            continue
        table[i] = _sentencepiece_bytes(token) if sentencepiece else _byte_level_bytes(token, i)
    for i, text in added.items():
        table[i] = text.encode("utf-8", errors="surrogatepass")
    return table


def byte_alphabet() -> dict[str, int]:
    """Return the byte that each character of the byte-level BPE alphabet stands for.

    A printable Latin-1 character stands for itself. The other 68 bytes, in order, are U+0100 and the
    characters after it. The definition is `bytes_to_unicode` of GPT-2's encoder.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in set(printable)]
    return {chr(b): b for b in printable} | {chr(0x100 + i): b for i, b in enumerate(others)}


_BYTE_OF_CHARACTER = byte_alphabet()


def _byte_level_bytes(token: str, i: int) -> bytes:
    try:
        return bytes(_BYTE_OF_CHARACTER[character] for character in token)
    except KeyError as error:
        raise ValueError(
            f"token {i} {token!r} holds {error.args[0]!r}, which is not in the byte alphabet: "
            "expected a byte-level BPE, or SentencePiece with a byte fallback"
        ) from None


def _sentencepiece_bytes(token: str) -> bytes:
    if match := _SENTENCEPIECE_BYTE.fullmatch(token):
        return bytes([int(match[1], 16)])
    return token.replace("\u2581", " ").encode()  # SentencePiece writes a space as U+2581
