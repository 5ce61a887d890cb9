"""Names and priorities against the formulas of docs/cache_format.md, in Python's integers."""

import numpy as np
import pytest

from cache.shards.corpus import ContextSample
from cache.statistics.identity import chosen, neuron_keys, priority, token_hashes

G = 0x9E3779B97F4A7C15
DOCUMENT, SEED, LAYER = 0x7FEDCBA987654321, 12345, 3


def mix(x: int) -> int:
    """SplitMix64's finaliser of x modulo 2^64."""
    x %= 2**64
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    x = (x ^ x >> 27) * 0x94D049BB133111EB % 2**64
    return x ^ x >> 31


def mix_half(h: int) -> int:
    h = h * 0x7FEB352D % 2**32
    return (h ^ h >> 15) * 0x846CA68B % 2**32


def test_names_of_tokens():
    found = token_hashes(DOCUMENT, np.arange(50)).tolist()
    assert found == [mix(mix(DOCUMENT * G) + (position + 1) * G) for position in range(50)]


def test_keys_of_neurons_and_priorities():
    keys = neuron_keys(SEED, LAYER, 20)
    assert keys.tolist() == [mix(mix(SEED * G + LAYER * 2**32 + 1) + neuron * G) for neuron in range(20)]
    token = int(token_hashes(DOCUMENT, np.array([7]))[0])
    expected = []
    for key in keys.tolist():
        both = token ^ key
        expected.append(mix_half(both >> 32) << 32 | mix_half(both % 2**32))
    assert priority(np.uint64(token), keys).tolist() == expected


@pytest.mark.parametrize("start", [0, 1023])
def test_priorities_of_contexts(start):
    sample = ContextSample(100, SEED)
    sample.offer(DOCUMENT, start, np.arange(5))
    ((found, *_),) = sample.contexts
    assert found == mix(mix((DOCUMENT ^ SEED) * G) - (start + 1) * G)


def test_documents_of_a_sample():
    expected = [mix(document ^ SEED * G % 2**64) < 0.3 * 2**64 for document in range(200)]
    assert [chosen(document, SEED, 0.3) for document in range(200)] == expected
    assert 30 < sum(expected) < 90
