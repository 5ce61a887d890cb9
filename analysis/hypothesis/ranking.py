"""Which neurons of a layer answer a hypothesis, and which simple hypotheses a neuron answers. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import re2

from analysis.hypothesis.detection import Activations, detection_curve
from analysis.hypothesis.language import Marks, Match

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
"""Simple patterns, by what they look for."""
POSITION_HYPOTHESES = tuple(f"first {n}" for n in (1, 4, 16, 64))
"""Where in a context."""
_STRONGEST = 200
"""Firings whose words before them are looked at."""


@dataclass(frozen=True, slots=True)
class RankedNeuron:
    """How well a neuron answers a hypothesis."""

    neuron: int
    average_precision: float
    auc: float


@dataclass(frozen=True, slots=True)
class Proposal:
    """A simple hypothesis that a program came up with, and how well it holds on text it was not chosen by."""

    text: str
    average_precision: float
    auc: float
    share: float
    """Of tokens that fit."""


def preceding_text_hypotheses(
    values: Activations, contexts: npt.NDArray[np.int64], token_bytes: Sequence[bytes], n_shown: int = 4
) -> list[str]:
    """The words of one and of two tokens that most often stand before a neuron's strongest firings, as
    hypotheses; from the half of the contexts that chooses (`proposals`).

    Args:
        values: `[N]`. contexts: `[N]` which context each token is of. token_bytes: `[N]`.
    """
    chosen = np.where(contexts % 2 == 0, values.astype(np.float32), -np.inf)
    strongest = np.argsort(-chosen, kind="stable")[:_STRONGEST]
    strongest = strongest[chosen[strongest] > 0]
    found = []
    for length in (1, 2):
        counts: Counter[bytes] = Counter()
        for at in strongest.tolist():
            if at >= length and contexts[at - length] == contexts[at]:
                counts[b"".join(token_bytes[at - length : at])] += 1
        for data, _ in counts.most_common(n_shown):
            text = data.decode("utf-8", errors="ignore")
            if text:
                found.append(str(Match(_literally(text), place="after")))
    return found


def _literally(text: str) -> str:
    """A pattern that finds a text and nothing else, on one line."""
    pattern: str = re2.escape(text).replace("\\/", "/").replace("\\ ", " ")
    return pattern.replace("\\\n", "\\n").replace("\\\t", "\\t").replace("\\\r", "\\r")


def rank(
    activations: Sequence[Activations] | npt.NDArray[np.float16], marks: Marks, first: int = 0
) -> list[RankedNeuron]:
    """Neurons by average precision, the best first.

    Args:
        activations: `[M, N]`, a row a neuron, read one after another.
        marks: `[N]` whether each token fits.
        first: the number of the first row's neuron.
    """
    curves = (detection_curve(np.asarray(values), marks) for values in activations)
    return sort_by_precision(
        RankedNeuron(neuron, curve.average_precision, curve.auc) for neuron, curve in enumerate(curves, first)
    )


def sort_by_precision(answers: Iterable[RankedNeuron]) -> list[RankedNeuron]:
    """By average precision."""
    return sorted(answers, key=lambda answer: -np.nan_to_num(answer.average_precision))


def propose(
    values: Activations,
    candidates: Sequence[tuple[str, Marks]],
    contexts: npt.NDArray[np.int64],
    n_shown: int = 12,
) -> list[Proposal]:
    """The candidates that a neuron answers best on one half of the contexts, scored on the other half.

    Args:
        values: `[N]`. candidates: texts of hypotheses, each with its `[N]` marks.
        contexts: `[N]` which context each token is of; the even ones choose.
    """
    choosing = contexts % 2 == 0
    scored = []
    for text, marks in candidates:
        chosen_by = detection_curve(values[choosing], marks[choosing]).average_precision
        if np.isfinite(chosen_by) and marks[~choosing].any():
            scored.append((chosen_by, text, marks))
    scored.sort(key=lambda row: -row[0])
    found = []
    for _, text, marks in scored[:n_shown]:
        curve = detection_curve(values[~choosing], marks[~choosing])
        found.append(Proposal(text, curve.average_precision, curve.auc, float(marks.mean())))
    return sorted(found, key=lambda p: -p.average_precision)
