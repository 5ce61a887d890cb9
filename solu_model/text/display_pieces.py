"""Cut a row of tokens into pieces of text that a page can show: whole characters.

Byte-level BPE splits text at any byte, so a character outside ASCII may be spread over several tokens.
Decoded one by one, each of those tokens is a replacement character (U+FFFD). Tokens that share a character
are therefore joined into one piece: by their bytes (`display_pieces`), or by their places in a text that was
typed (`pieces_of_text`). Offsets are in UTF-16 code units, the unit of JavaScript strings.

Imports neither torch nor transformers, so that the pages can use it at no cost.
"""

import unicodedata
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


def begins_piece(offsets: Sequence[tuple[int, int]], token: int) -> bool:
    """Return True if a token shares no character with the token before it; also at the end of the row.

    Args:
        offsets: start and end of each token in its text, in characters.
        token: index of the token, from 0 to the number of tokens.
    """
    if token == 0 or token == len(offsets):
        return True
    return offsets[token][0] >= offsets[token - 1][1]


def pieces_of_text(
    text: str, offsets: Sequence[tuple[int, int]], first: int, last: int
) -> tuple[int, list[Piece]]:
    """Cut the part of a text that some of its tokens cover into pieces.

    A tokenizer may leave out characters: spaces, or those that its normalizer drops. Such text belongs to the
    following piece, and at the end of the text to the last one, so the pieces cover all of it. Combining
    marks stay with the character before them.

    Args:
        text: the text as it is given to the tokenizer.
        offsets: start and end of each of its tokens, in characters.
        first: index of the first token of the part. It begins a piece (`begins_piece`).
        last: index of the token after the part, which begins one too.

    Returns:
        The start of the part in the text, in UTF-16 code units, and its pieces. Their tokens count from
        `first`, and their offsets from the start. Their texts joined are the text of the part.
    """
    begin = at = _piece_end(text, offsets, first - 1) if 0 < first < last else 0
    pieces: list[Piece] = []
    first_token, start = first, 0
    for token in range(first, last):
        if token + 1 < last and not begins_piece(offsets, token + 1):
            continue
        end = max(at, _piece_end(text, offsets, token))
        piece_text = text[at:end]
        units = utf16_length(piece_text)
        pieces.append(Piece(piece_text, first_token - first, token + 1 - first_token, start, start + units))
        first_token, start, at = token + 1, start + units, end
    return utf16_length(text[:begin]), pieces


def _piece_end(text: str, offsets: Sequence[tuple[int, int]], token: int) -> int:
    """Return where the piece ends whose last token this is, in characters.

    The combining marks between it and the next token belong to it: a normalizer composed them with the
    character before them.
    """
    if token + 1 == len(offsets):
        return len(text)
    end, next_start = offsets[token][1], offsets[token + 1][0]
    while end < next_start and unicodedata.category(text[end]).startswith("M"):
        end += 1
    return end


def utf16_length(text: str) -> int:
    """Return the length in UTF-16 code units: 2 for a character above U+FFFF (most emoji), 1 for others."""
    if text.isascii():
        return len(text)
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
