"""Neurons of a layer ranked as detectors of a hypothesis, and simple hypotheses proposed for a neuron.

Legend: M neurons, N tokens.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.hypothesis.detection import Activations, detection_curve
from analysis.hypothesis.language import Marks, Match
from analysis.patterns import literal_pattern

SIMPLE_HYPOTHESES = {
    "digits": "/[0-9]+/",
    "capitals": "/\\b[A-Z]{2,}\\b/",
    "capital letters first": "/\\b[A-Z][a-z]+/",
    "hexadecimal": "/\\b(0x)?[0-9a-f]*[0-9][0-9a-f]{5,}\\b/i",
    "base64": "/[A-Za-z0-9+\\/]{30,}=*/",
    "blanks": "/\\s{2,}/",
    "line breaks": "/\\n/",
    "after a line break": "after /\\n/",
    "punctuation": "/[.,;:!?]/",
    "number before a comma": "before /,/ and /[0-9]/",
    "after a comma": "after /,/",
    "brackets": "/[()\\[\\]{}]/",
    "quotes": "/[\"'`]/",
    "operators": "/[-+*=<>|&%]/",
    "addresses": "/https?:\\S+/",
    "markup": "/<[^>]*>/",
    "other alphabets": "/[^\\x00-\\x{24F}]+/",
}
"""Hypotheses about classes of characters, by name."""
POSITION_HYPOTHESES = tuple(f"first {n}" for n in (1, 4, 16, 64))
"""Hypotheses about positions in a context."""
_N_STRONGEST = 200  # activations whose preceding tokens are counted


@dataclass(frozen=True, slots=True)
class RankedNeuron:
    """A neuron with its scores as a detector of a hypothesis."""

    neuron: int
    average_precision: float
    auc: float


@dataclass(frozen=True, slots=True)
class Proposal:
    """A hypothesis with a neuron's scores as its detector, on text that did not choose it."""

    text: str
    average_precision: float
    auc: float
    share: float
    """Share of all tokens that fit."""


def preceding_text_hypotheses(
    values: Activations, contexts: npt.NDArray[np.int64], token_bytes: Sequence[bytes], n_best: int = 4
) -> list[str]:
    """Return `after /text/` for the texts that most often precede a neuron's strongest activations.

    Only the even contexts are read, which choose in `propose`: the odd ones must stay unseen for the scores.

    Args:
        values: `[N]`, activations.
        contexts: `[N]`, number of each token's context.
        token_bytes: `[N]`.
        n_best: number of texts of one token, and of two tokens.
    """
    chosen = np.where(contexts % 2 == 0, values.astype(np.float32), -np.inf)
    strongest = np.argsort(-chosen, kind="stable")[:_N_STRONGEST]
    strongest = strongest[chosen[strongest] > 0]
    texts = []
    for length in (1, 2):
        counts: Counter[bytes] = Counter()
        for at in strongest.tolist():
            if at >= length and contexts[at - length] == contexts[at]:
                counts[b"".join(token_bytes[at - length : at])] += 1
        for data, _ in counts.most_common(n_best):
            text = data.decode("utf-8", errors="ignore")  # a token may end inside a character
            if text:
                texts.append(str(Match(literal_pattern(text), place="after")))
    return texts


def rank(
    activations: Sequence[Activations] | npt.NDArray[np.float16], marks: Marks, first: int = 0
) -> list[RankedNeuron]:
    """Rank neurons as detectors of a hypothesis, by average precision, the best first.

    Args:
        activations: `[M, N]`, one row for each neuron; rows are read one at a time.
        marks: `[N]`, whether each token fits.
        first: index of the first row's neuron.
    """
    curves = (detection_curve(np.asarray(values), marks) for values in activations)
    return sort_by_precision(
        RankedNeuron(neuron, curve.average_precision, curve.auc) for neuron, curve in enumerate(curves, first)
    )


def sort_by_precision(neurons: Iterable[RankedNeuron]) -> list[RankedNeuron]:
    """Sort by average precision, the best first; NaN counts as 0."""
    return sorted(neurons, key=lambda neuron: -np.nan_to_num(neuron.average_precision))


def propose(
    values: Activations,
    candidates: Sequence[tuple[str, Marks]],
    contexts: npt.NDArray[np.int64],
    n_best: int = 12,
) -> list[Proposal]:
    """Choose the candidates that a neuron detects best on the even contexts, and score them on the odd ones.

    Scores on the contexts that chose would be too high: of many candidates some fit by chance.

    Args:
        values: `[N]`, activations.
        candidates: hypotheses as text, each with its marks `[N]`.
        contexts: `[N]`, number of each token's context.
        n_best: number of proposals.
    """
    choosing = contexts % 2 == 0
    scored = []
    for text, marks in candidates:
        score = detection_curve(values[choosing], marks[choosing]).average_precision
        if np.isfinite(score) and marks[~choosing].any():
            scored.append((score, text, marks))
    scored.sort(key=lambda row: -row[0])
    chosen = []
    for _, text, marks in scored[:n_best]:
        curve = detection_curve(values[~choosing], marks[~choosing])
        chosen.append(Proposal(text, curve.average_precision, curve.auc, float(marks.mean())))
    return sorted(chosen, key=lambda p: -p.average_precision)
