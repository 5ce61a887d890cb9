"""Statistics of neurons, for the dashboard, notebooks and the command line. No Streamlit, plotly or database.

    from analysis import measure_consistency, parse, compute_results, read_ratings

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
        consistency_from_contexts,
        mark_examples,
        measure_consistency,
    )
    from analysis.hypothesis.detection import Detection, DetectionCurve, detection_curve, measure_detection
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
    from analysis.rating.results import Results, compute_results
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
    "compute_results",
    "consistency_from_contexts",
    "correlations",
    "cosines",
    "detection_curve",
    "difference",
    "exact_power",
    "exact_test",
    "find_tokens",
    "mark_examples",
    "measure_consistency",
    "measure_detection",
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
    "results_to_json",
    "standardize",
    "summary_sentences",
    "top_neurons",
    "weighted_mean",
    "wilson",
]

_NAMES_BY_MODULE = {
    "histogram_bars": ("Bars", "bars_from_histogram", "normal_counts"),
    "hypothesis.consistency": (
        "Consistency",
        "Level",
        "measure_consistency",
        "consistency_from_contexts",
        "mark_examples",
    ),
    "hypothesis.detection": ("Detection", "DetectionCurve", "measure_detection", "detection_curve"),
    "hypothesis.language": ("Context", "Hypothesis", "HypothesisError", "Predicate"),
    "hypothesis.parsing": ("parse",),
    "hypothesis.ranking": (
        "Proposal",
        "RankedNeuron",
        "preceding_text_hypotheses",
        "propose",
        "rank",
    ),
    "intervals": ("Estimate", "difference", "weighted_mean", "wilson"),
    "rating.exact": ("exact_test",),
    "rating.power": ("exact_power", "neurons_needed"),
    "rating.ratings": ("UnblindedRating", "ratings_from_rows", "read_ratings"),
    "rating.report": ("results_to_json", "summary_sentences"),
    "rating.results": ("Results", "compute_results"),
    "similarity": ("PeakCounts", "correlations", "cosines", "standardize", "top_neurons"),
    "token_effects": ("TokenEffect", "find_tokens", "most_promoted", "most_suppressed"),
}
_MODULE_OF_NAME = {name: module for module, names in _NAMES_BY_MODULE.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF_NAME:
        raise AttributeError(f"module 'analysis' has no attribute {name!r}")
    return getattr(import_module(f"analysis.{_MODULE_OF_NAME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
