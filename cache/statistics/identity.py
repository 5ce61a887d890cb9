"""Names of documents, tokens and examples, the same in any order and on any machine.

A document is named by a hash of its text and provenance, a token by its document and position. A neuron's
samples are the tokens of lowest priority, which is a hash of (seed, neuron, token). There is no random
state, so any split of a corpus, any order and any number of workers choose the same tokens.
"""

import hashlib

import numpy as np
import numpy.typing as npt

MIX_1, MIX_2 = 0x7FEB352D, 0x846CA68B
"""Odd multipliers of a 32-bit mixing function (C. Wellons, hash-prospector)."""

FINGERPRINT_BEFORE, FINGERPRINT_AFTER = 6, 2
"""Tokens before and after the peak: two examples that agree in them are near-identical."""

_GOLDEN = 0x9E3779B97F4A7C15  # 2^64 / golden ratio, the step of SplitMix64
_MASK = 0xFFFFFFFFFFFFFFFF


def document_digest(text: bytes, source: str, origin: str) -> int:
    """Return the SHA-256, as a number, of a document's source, origin and text.

    Each of the three is hashed after its length in bytes, as 8 little-endian bytes. The lowest 63 bits are
    the document's name; documents that are equal in all three have one name.
    """
    digest = hashlib.sha256()
    for part in (source.encode(), origin.encode(), text):
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return int.from_bytes(digest.digest(), "big")


def _splitmix(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Mix bits with SplitMix64's finaliser (Steele, Lea and Flood 2014): each depends on all bits of x."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def token_hashes(document: int, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    """Return the names of tokens, `[T]`: 64-bit hashes of their document and position in it."""
    start = _splitmix(np.array([(document * _GOLDEN) & _MASK], dtype=np.uint64))
    steps = (positions.astype(np.uint64) + np.uint64(1)) * np.uint64(_GOLDEN)
    return _splitmix(start + steps)


def neuron_keys(seed: int, layer: int, d_mlp: int) -> npt.NDArray[np.uint64]:
    """Return the key of each neuron of a layer, `[M]`, which is mixed into the priorities of tokens."""
    start = _splitmix(np.array([(seed * _GOLDEN + (layer << 32) + 1) & _MASK], dtype=np.uint64))
    return _splitmix(start + np.arange(d_mlp, dtype=np.uint64) * np.uint64(_GOLDEN))


def priority(token: npt.NDArray[np.uint64], neuron: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Return the sampling priority of a token for a neuron: 64 bits, of which the lowest are chosen.

    The two halves are mixed independently, so that the compiled loop (`sample_kernels.priority_half`, which
    repeats this definition) computes the low half only where the high one is small enough.
    """
    token, neuron = np.broadcast_arrays(token, neuron)

    def mixed(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        half = x.astype(np.uint32) * np.uint32(MIX_1)
        half = (half ^ (half >> np.uint32(15))) * np.uint32(MIX_2)
        return half.astype(np.uint64)

    both = token ^ neuron
    return mixed(both >> np.uint64(32)) << np.uint64(32) | mixed(both & np.uint64(0xFFFFFFFF))


def fingerprint(tokens: npt.NDArray[np.integer], at: int) -> int:
    """Return a hash (FNV-1a) of the tokens around a peak, equal for near-identical examples.

    Args:
        tokens: `[T]` the context, its BOS included, which is not hashed.
        at: position of the peak.
    """
    h = 0xCBF29CE484222325  # FNV-1a's start and, below, its prime
    first, last = max(at - FINGERPRINT_BEFORE, 1), min(at + FINGERPRINT_AFTER + 1, len(tokens))
    for token in tokens[first:last]:
        h = ((h ^ (int(token) + 1)) * 0x100000001B3) & _MASK
    return h


def chosen(document: int, seed: int, share: float) -> bool:
    """Return True if a sample of this share of the documents holds this one."""
    x = _splitmix(np.array([(document ^ (seed * _GOLDEN)) & _MASK], dtype=np.uint64))
    return int(x[0]) < share * 2.0**64
