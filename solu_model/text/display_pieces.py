"""Cut a row of tokens into pieces of text that a page can show: whole characters.

Byte-level BPE splits text at any byte, so a character outside ASCII may be spread over several tokens.
Decoded one by one, each of those tokens is a replacement character (U+FFFD). `display_pieces` joins the
tokens that share a character into one piece. Offsets are in UTF-16 code units, the unit of JavaScript
strings.

Imports neither torch nor transformers, so that the pages can use it at no cost.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Piece:
    """A run of tokens shown as one text: a single token, unless characters are spread over several."""

    text: str
    """The text to show. Bytes that are not valid UTF-8 appear as U+FFFD."""
    first_token: int
    """Index of the first token."""
    n_tokens: int
    """Number of tokens."""
    start: int
    """Start in the joined text, in UTF-16 code units."""
    end: int
    """End in the joined text, exclusive, in UTF-16 code units."""


def display_pieces(tokens: Sequence[bytes]) -> list[Piece]:
    """Cut a row of tokens into pieces of whole characters.

    Args:
        tokens: the bytes of each token, in order. The row may begin or end inside a character.

    Returns:
        Pieces in order. They cover each token once, and none ends inside a code point. Their texts joined
        equal the bytes of the row decoded with errors="replace". A token without bytes is a piece of its
        own.
    """
    characters = _characters(b"".join(tokens))
    inside: set[int] = set()  # byte offsets inside a character
    offset = 0
    for _, size in characters:
        inside.update(range(offset + 1, offset + size))
        offset += size
    pieces: list[Piece] = []
    pending = iter(characters)
    first = n_bytes = consumed = start = 0
    for i, token in enumerate(tokens):
        n_bytes += len(token)
        if n_bytes in inside:  # the token ends inside a character: join the next token to this piece
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
    """Return the length in UTF-16 code units: 2 for a character above U+FFFF (most emoji), 1 for others."""
    return sum(2 if ord(character) > 0xFFFF else 1 for character in text)


def _characters(data: bytes) -> list[tuple[str, int]]:
    """Split `data` into characters and their numbers of bytes. Bytes that are not UTF-8 become U+FFFD."""
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
