"""Statistics of neurons, for the dashboard, notebooks and the command line. No Streamlit, plotly or database.

    from analysis import consistency, parse, results, read_ratings

    hypothesis/         does a neuron mean what one thinks: hypotheses, consistency, detection, ranking
    rating/             results of a blinded rating study
    intervals.py        shares with 95% intervals
    similarity.py       similarity by activation, by weights or by the tokens at the peaks
    token_effects.py    effects on the logits of the vocabulary
    histogram_bars.py   bars to draw from a cache's histogram
    patterns.py         regular expressions that people type
    formatting.py       numbers, shares and tokens as text
    spreadsheet.py      CSV cells that a spreadsheet does not run

Names are imported at first use: importing `analysis` loads nothing else.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.histogram_bars import Bars, bars_from_histogram, normal_counts
    from analysis.hypothesis.consistency import (
        Consistency,
        Level,
        consistency,
        consistency_from_contexts,
        mark_examples,
    )
    from analysis.hypothesis.detection import Detection, DetectionCurve, detection, detection_curve
    from analysis.hypothesis.language import Context, Hypothesis, HypothesisError, Predicate
    from analysis.hypothesis.parsing import parse
    from analysis.hypothesis.ranking import (
        Proposal,
        RankedNeuron,
        preceding_text_hypotheses,
        propose,
        rank,
    )
    from analysis.intervals import Estimate, difference, weighted_mean, wilson
    from analysis.rating.exact import exact_test
    from analysis.rating.power import exact_power, neurons_needed
    from analysis.rating.ratings import UnblindedRating, ratings_from_rows, read_ratings
    from analysis.rating.report import results_to_json, summary_sentences
    from analysis.rating.results import Results, results
    from analysis.similarity import PeakCounts, correlations, cosines, standardize, top_neurons
    from analysis.token_effects import TokenEffect, find_tokens, most_promoted, most_suppressed

__all__ = [
    "Bars",
    "Consistency",
    "Context",
    "Detection",
    "DetectionCurve",
    "Estimate",
    "Hypothesis",
    "HypothesisError",
    "Level",
    "PeakCounts",
    "Predicate",
    "Proposal",
    "RankedNeuron",
    "Results",
    "TokenEffect",
    "UnblindedRating",
    "bars_from_histogram",
    "consistency",
    "consistency_from_contexts",
    "correlations",
    "cosines",
    "detection",
    "detection_curve",
    "difference",
    "exact_power",
    "exact_test",
    "find_tokens",
    "mark_examples",
    "most_promoted",
    "most_suppressed",
    "neurons_needed",
    "normal_counts",
    "parse",
    "preceding_text_hypotheses",
    "propose",
    "rank",
    "ratings_from_rows",
    "read_ratings",
    "results",
    "results_to_json",
    "standardize",
    "summary_sentences",
    "top_neurons",
    "weighted_mean",
    "wilson",
]

_NAMES = {
    "analysis.histogram_bars": ("Bars", "bars_from_histogram", "normal_counts"),
    "analysis.hypothesis.consistency": (
        "Consistency",
        "Level",
        "consistency",
        "consistency_from_contexts",
        "mark_examples",
    ),
    "analysis.hypothesis.detection": ("Detection", "DetectionCurve", "detection", "detection_curve"),
    "analysis.hypothesis.language": ("Context", "Hypothesis", "HypothesisError", "Predicate"),
    "analysis.hypothesis.parsing": ("parse",),
    "analysis.hypothesis.ranking": (
        "Proposal",
        "RankedNeuron",
        "preceding_text_hypotheses",
        "propose",
        "rank",
    ),
    "analysis.intervals": ("Estimate", "difference", "weighted_mean", "wilson"),
    "analysis.rating.exact": ("exact_test",),
    "analysis.rating.power": ("exact_power", "neurons_needed"),
    "analysis.rating.ratings": ("UnblindedRating", "ratings_from_rows", "read_ratings"),
    "analysis.rating.report": ("results_to_json", "summary_sentences"),
    "analysis.rating.results": ("Results", "results"),
    "analysis.similarity": ("PeakCounts", "correlations", "cosines", "standardize", "top_neurons"),
    "analysis.token_effects": ("TokenEffect", "find_tokens", "most_promoted", "most_suppressed"),
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'analysis' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
