"""A neuron's strongest examples cut to windows of one length, and their shading in steps."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cache.format.vocabulary import Vocabulary
from cache.reader import Example, NeuronCache
from dashboard.studies.plan.design import Design, Shades

N_STEPS = 16
"""Of the shading, 0 to 15: the same for every neuron."""


RANKS = (15, 7, 3)
"""Steps of a snippet's strongest tokens where they are shaded by rank."""


@dataclass(frozen=True, slots=True)
class Snippet:
    """A window of text, and what a neuron does in it."""

    tokens: npt.NDArray[np.int32]
    """`[n_tokens]`."""
    activations: npt.NDArray[np.float32]
    """`[n_tokens]`."""
    peak: int
    """Index of the token that it was cut around."""


def snippets_of(cache: NeuronCache, layer: int, neuron: int, hook: str, design: Design) -> list[Snippet]:
    """A neuron's strongest examples that a window can be cut from, best first; at most `n_snippets`."""
    cut = (_cut(e, hook, design) for e in cache.neuron(layer, neuron).top(hook))
    return [snippet for snippet in cut if snippet is not None][: design.n_snippets]


def steps_of(snippets: list[Snippet], shading: Shades) -> npt.NDArray[np.int64]:
    """`[n_snippets, n_tokens]` steps of activation above 0, in units of the largest among them; or, by rank,
    those of `RANKS` for the strongest of each snippet, as far as they are above 0."""
    above = np.maximum(np.stack([s.activations for s in snippets]).astype(np.float64), 0.0)
    if shading == "rank":
        ranks = (-above).argsort(axis=1, kind="stable").argsort(axis=1, kind="stable")
        by_rank = np.zeros(max(above.shape[1], len(RANKS)), dtype=np.int64)
        by_rank[: len(RANKS)] = RANKS
        return np.where(above > 0, by_rank[ranks], 0)
    steps: npt.NDArray[np.int64] = np.rint((N_STEPS - 1) * above / (above.max() or 1.0)).astype(np.int64)
    return steps


def drawn(
    vocabulary: Vocabulary, tokens: npt.NDArray[np.int32], steps: npt.NDArray[np.int64]
) -> dict[str, list[str] | list[int]]:
    """A window as a card holds it: a text and a step a token. Where several tokens make one character, the
    first has its text and their largest step, and the others are empty."""
    texts, shown = [""] * len(tokens), steps.tolist()
    for piece in vocabulary.pieces(tokens):
        inside = slice(piece.first, piece.first + piece.n_tokens)
        texts[piece.first] = piece.text
        shown[inside] = [max(shown[inside])] * piece.n_tokens
    return {"t": texts, "s": shown}


def _cut(example: Example, hook: str, design: Design) -> Snippet | None:
    """The window with `n_before` tokens before the peak, moved where the text begins or ends too near."""
    spare = len(example.tokens) - design.n_tokens
    if spare < 0:
        return None
    start = min(max(example.peak - design.n_before, 0), spare)
    inside = slice(start, start + design.n_tokens)
    return Snippet(example.tokens[inside], example.activations[hook][inside], example.peak - start)
