"""Text of tokens as a person should see it, where a token may hold half a character.

Byte-level BPE splits text at any byte, so that a character outside ASCII may be spread over several tokens.
Decoding tokens one by one shows such a character as a row of replacement signs; here the tokens that
share it are shown as one piece. Offsets are in UTF-16 code units, which is what a browser counts in.

Imports neither torch nor transformers.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_SENTENCEPIECE_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


@dataclass(frozen=True)
class Piece:
    """A run of tokens shown as one: a single token, unless characters are spread over several."""

    text: str
    """What to show. Bytes that are no UTF-8 appear as U+FFFD."""
    first_token: int
    """Index of its first token."""
    n_tokens: int
    """How many tokens it stands for."""
    start: int
    """Where it begins in the joined text, in UTF-16 code units."""
    end: int
    """Where it ends."""


def display_pieces(tokens: Sequence[bytes]) -> list[Piece]:
    """Cut a row of tokens into pieces of whole characters.

    Args:
        tokens: the bytes of each token, in order. The row may begin or end inside a character.

    Returns:
        Pieces in order. They cover every token once, none is cut inside a code point, and their texts joined
        are the bytes decoded with errors="replace". Tokens without bytes have a piece of their own.
    """
    characters = _characters(b"".join(tokens))
    inside: set[int] = set()  # byte offsets at which a character is cut
    offset = 0
    for _, size in characters:
        inside.update(range(offset + 1, offset + size))
        offset += size
    pieces: list[Piece] = []
    pending = iter(characters)
    first = n_bytes = consumed = start = 0
    for i, token in enumerate(tokens):
        n_bytes += len(token)
        if n_bytes in inside:
            continue
        text = ""
        while consumed < n_bytes:
            character, size = next(pending)
            text += character
            consumed += size
        end = start + utf16_length(text)
        pieces.append(Piece(text, first, i + 1 - first, start, end))
        first, start = i + 1, end
    return pieces


def utf16_length(text: str) -> int:
    """Length in UTF-16 code units: 2 for a character beyond U+FFFF, such as most emoji, 1 for others."""
    return sum(2 if ord(character) > 0xFFFF else 1 for character in text)


def vocabulary_bytes(tokenizer: Any) -> list[bytes]:
    """The bytes of every token of a tokenizer, by id.

    Args:
        tokenizer: of transformers (`get_vocab`, `added_tokens_decoder`) or of tokenizers
            (`get_vocab`, `get_added_tokens_decoder`).

    Returns:
        One entry an id, up to the highest; empty where an id is not used. Added tokens, special ones
        included, are the UTF-8 of their text.

    Raises:
        ValueError: see `decode_vocabulary`.
    """
    if hasattr(tokenizer, "get_added_tokens_decoder"):
        added = tokenizer.get_added_tokens_decoder()
    else:
        added = tokenizer.added_tokens_decoder
    return decode_vocabulary(tokenizer.get_vocab(), {i: str(token.content) for i, token in added.items()})


def decode_vocabulary(vocabulary: Mapping[str, int], added: Mapping[int, str]) -> list[bytes]:
    """The bytes of every token of a vocabulary, by id.

    Args:
        vocabulary: id by token, spelled in the byte-level alphabet (`Ġthe`), or as SentencePiece does with
            a byte fallback (`▁the`, `<0x0A>`).
        added: text by id of the tokens that were added as plain text.

    Raises:
        ValueError: a token is spelled in neither way; names it.
    """
    size = max([*vocabulary.values(), *added], default=-1) + 1
    table = [b""] * size
    sentencepiece = "<0x0A>" in vocabulary
    for token, i in vocabulary.items():
        if i in added:
            continue
        table[i] = _sentencepiece_bytes(token) if sentencepiece else _byte_level_bytes(token, i)
    for i, text in added.items():
        table[i] = text.encode("utf-8", errors="surrogatepass")
    return table


def byte_alphabet() -> dict[str, int]:
    """Byte by the character that stands for it in byte-level BPE.

    Printable Latin-1 stands for itself; the other 68 bytes, in order, are U+0100 and up (GPT-2's
    `bytes_to_unicode`).
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in set(printable)]
    return {chr(b): b for b in printable} | {chr(0x100 + i): b for i, b in enumerate(others)}


_BYTES = byte_alphabet()


def _byte_level_bytes(token: str, i: int) -> bytes:
    try:
        return bytes(_BYTES[character] for character in token)
    except KeyError as error:
        raise ValueError(
            f"token {i} {token!r} holds {error.args[0]!r}, which stands for no byte: expected a byte-level "
            "BPE, or SentencePiece with a byte fallback"
        ) from None


def _sentencepiece_bytes(token: str) -> bytes:
    if match := _SENTENCEPIECE_BYTE.fullmatch(token):
        return bytes([int(match[1], 16)])
    return token.replace("\u2581", " ").encode()


def _characters(data: bytes) -> list[tuple[str, int]]:
    """Characters of `data` with the number of bytes each takes; U+FFFD for what is no UTF-8."""
    characters: list[tuple[str, int]] = []
    while data:
        try:
            valid, bad, data = data.decode(), 0, b""
        except UnicodeDecodeError as error:
            valid, bad, data = data[: error.start].decode(), error.end - error.start, data[error.end :]
        characters += [(c, len(c.encode())) for c in valid]
        if bad:
            characters.append(("\ufffd", bad))
    return characters
