"""A neuron's strongest examples cut to windows of one length, and their shading in steps."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cache.format.vocabulary import Vocabulary
from cache.reader import Example, NeuronCache
from dashboard.studies.plan.design import Design, Shades

N_STEPS = 16
"""Steps of the shading, 0 to 15: the same for every neuron."""

RANKS = (15, 7, 3)
"""Steps of a snippet's three strongest tokens in the shading by rank."""


@dataclass(frozen=True, slots=True)
class Snippet:
    """A window of text with a neuron's activations."""

    tokens: npt.NDArray[np.int32]
    """`[n_tokens]`."""
    activations: npt.NDArray[np.float32]
    """`[n_tokens]`."""
    peak: int
    """Index of the token with the largest activation of the example."""


def snippets_of(cache: NeuronCache, layer: int, neuron: int, hook: str, design: Design) -> list[Snippet]:
    """Return windows of a neuron's strongest examples, the strongest first; at most `n_snippets`.

    Examples with less text than a window are passed over.
    """
    cut = (_cut(e, hook, design) for e in cache.neuron(layer, neuron).top(hook))
    return [snippet for snippet in cut if snippet is not None][: design.n_snippets]


def steps_of(snippets: list[Snippet], shading: Shades) -> npt.NDArray[np.int64]:
    """Return the shade of each token, `[n_snippets, n_tokens]`.

    By magnitude it is the activation above 0, in units of the largest among all snippets. By rank the
    strongest tokens of each snippet have the steps in `RANKS`, as far as they are above 0.
    """
    above = np.maximum(np.stack([s.activations for s in snippets]).astype(np.float64), 0.0)
    if shading == "rank":
        ranks = (-above).argsort(axis=1, kind="stable").argsort(axis=1, kind="stable")
        by_rank = np.zeros(max(above.shape[1], len(RANKS)), dtype=np.int64)
        by_rank[: len(RANKS)] = RANKS
        return np.where(above > 0, by_rank[ranks], 0)
    steps: npt.NDArray[np.int64] = np.rint((N_STEPS - 1) * above / (above.max() or 1.0)).astype(np.int64)
    return steps


def card_snippet(
    vocabulary: Vocabulary, tokens: npt.NDArray[np.int32], steps: npt.NDArray[np.int64]
) -> dict[str, list[str] | list[int]]:
    """Return a window as a card holds it, with a text `t` and a step `s` for each token.

    Where several tokens make one character, the first has its text, and the others are empty. All of them
    have the largest of their steps.
    """
    texts, shades = [""] * len(tokens), steps.tolist()
    for piece in vocabulary.pieces(tokens):
        inside = slice(piece.first, piece.first + piece.n_tokens)
        texts[piece.first] = piece.text
        shades[inside] = [max(shades[inside])] * piece.n_tokens
    return {"t": texts, "s": shades}


def _cut(example: Example, hook: str, design: Design) -> Snippet | None:
    """Return the window with `n_before` tokens before the peak; None where the text is shorter than a window.

    Near the beginning or the end of the text the window is moved inside it.
    """
    spare = len(example.tokens) - design.n_tokens
    if spare < 0:
        return None
    start = min(max(example.peak - design.n_before, 0), spare)
    inside = slice(start, start + design.n_tokens)
    return Snippet(example.tokens[inside], example.activations[hook][inside], example.peak - start)
