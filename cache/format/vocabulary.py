"""The bytes of tokens, and their text, also where a character spans several tokens."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive tokens that are shown together, because a character spans them."""

    text: str
    first: int
    """Index of the piece's first token in the sequence."""
    n_tokens: int


class Vocabulary:
    """The bytes of every token.

    Args:
        token_bytes: by token id; those of a special token are its name in UTF-8.
    """

    def __init__(self, token_bytes: Sequence[bytes]) -> None:
        self.token_bytes = list(token_bytes)

    def __len__(self) -> int:
        return len(self.token_bytes)

    def text(self, token: int) -> str:
        """Return one token as text, with bytes that are no character by themselves as `\\xNN`.

        Raises:
            IndexError: the vocabulary has no such token.
        """
        if not 0 <= token < len(self.token_bytes):
            raise IndexError(f"expected a token from 0 to {len(self.token_bytes) - 1}, got {token}")
        return self.token_bytes[token].decode("utf-8", errors="backslashreplace")

    def pieces(self, tokens: Sequence[int] | npt.NDArray[np.integer]) -> list[Piece]:
        """Return tokens as text, in pieces of as few tokens as possible.

        A token that ends inside a character is joined with the tokens that complete it. Bytes that are never
        completed, as where a window begins or ends inside a character, are shown as `\\xNN`.
        """
        pieces: list[Piece] = []
        held, first = b"", 0
        for index, token in enumerate(tokens):
            if not held:
                first = index
            held += self.token_bytes[int(token)]
            following = self.token_bytes[int(tokens[index + 1])] if index + 1 < len(tokens) else b""
            # 10xxxxxx is a byte that continues a character.
            if _unfinished(held) and following and following[0] & 0xC0 == 0x80:
                continue
            pieces.append(Piece(held.decode("utf-8", errors="backslashreplace"), first, index + 1 - first))
            held = b""
        return pieces


def _unfinished(data: bytes) -> bool:
    """Return True if the data ends inside a code point that more bytes could complete."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte & 0xC0 != 0x80:  # the first byte of a code point: its high bits give the length
            length = 4 if byte >= 0xF0 else 3 if byte >= 0xE0 else 2 if byte >= 0xC0 else 1
            return length > back
    return False
