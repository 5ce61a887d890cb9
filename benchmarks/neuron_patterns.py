"""Share of the strongest examples of six neurons that fit their description in docs/neurons.md.

python benchmarks/neuron_patterns.py models/solu-1l/neurons
"""

import re
import sys
from collections.abc import Callable
from typing import NamedTuple

from cache.format.vocabulary import Vocabulary
from cache.reader import Example, NeuronCache


class Around(NamedTuple):
    """Text before an example's peak token, of this token, and after it."""

    before: str
    token: str
    after: str


Fits = Callable[[Example, Around], bool]

PATTERNS: dict[int, list[tuple[str, Fits]]] = {
    539: [("in a text of base64", lambda e, _: e.document.source == "base64_hex")],
    657: [("within a word of capitals", lambda _, at: word(*at).isupper())],
    354: [
        ("on a backslash", lambda _, at: "\\" in at.token),
        ("in LaTeX", lambda e, _: e.document.source == "latex"),
    ],
    119: [("in Dutch", lambda e, _: e.document.lang == "nl")],
    483: [
        (
            "on a digit before a comma and another digit",
            lambda _, at: at.token[-1:].isdigit() and re.match(r",\s*\d", at.after) is not None,
        )
    ],
    1287: [
        ("in Go", lambda e, _: e.document.source == "code_go"),
        ("on :=", lambda _, at: at.token.strip() == ":="),
    ],
}


def word(before: str, token: str, after: str) -> str:
    """Return the word that contains the peak token, without blanks."""
    start = re.search(r"[^\W\d_]*$", before)
    end = re.match(r"[^\W\d_]*", after)
    body = token.strip()
    left = start.group() if start and token[:1] == body[:1] else ""
    return left + body + (end.group() if end else "")


def around(example: Example, vocabulary: Vocabulary) -> Around:
    """Return the text around the peak of an example."""
    tokens, peak = example.tokens, example.peak
    parts = (tokens[:peak], tokens[peak : peak + 1], tokens[peak + 1 :])
    return Around(*("".join(p.text for p in vocabulary.pieces(part)) for part in parts))


def main(path: str) -> None:
    cache = NeuronCache.open(path)
    print(f"{cache.manifest.corpus.n_tokens:,} tokens, {cache.manifest.model.name}")
    for index, patterns in PATTERNS.items():
        neuron = cache.neuron(0, index)
        top = neuron.top("hook_mid")
        found = [
            f"{sum(fits(e, around(e, cache.vocabulary)) for e in top)} of {len(top)} {name}"
            for name, fits in patterns
        ]
        shares = []
        for hook in cache.hooks:
            n, _ = neuron.histogram(hook).count_from(neuron.moments(hook).max / 10)
            shares.append(f"{100 * n / neuron.moments(hook).count:.2f}%")
        print(f"{index}: {', '.join(found)}; fires {' -> '.join(shares)}")
        print("   ", *(repr(around(e, cache.vocabulary).token) for e in top))


if __name__ == "__main__":
    main(sys.argv[1])
