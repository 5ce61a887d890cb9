"""Results of a study in sentences, as numbers to read, and as JSON."""

import json
import math
from dataclasses import asdict
from typing import Any

from analysis.formatting import number
from analysis.intervals import Estimate, format_estimate
from analysis.rating.results import Comparison, Results

ALPHA = 0.05
"""Largest p-value that the sentences call a difference."""


def format_percent(value: float) -> str:
    """Format a share as whole percent; NaN becomes a dash."""
    return "–" if math.isnan(value) else f"{100 * value:.0f}%"


def format_interval(estimate: Estimate, unit: str = "%") -> str:
    """Format a share in whole percent with its interval, as 60% (47 to 71%); NaN becomes a dash."""
    return format_estimate(estimate, lambda value: f"{100 * value:.0f}", unit)


def format_p_value(p: float) -> str:
    """Format a p-value, as `p = 0.031` or `p < 0.0001`; NaN becomes a dash."""
    if math.isnan(p):
        return "–"
    return "p < 0.0001" if p < 1e-4 else f"p = {number(p, 2)}"


def summary_sentences(study: Results) -> list[str]:
    """Return a sentence for each comparison, or one that says why there is none."""
    n_raters = sum(any(s.n for s in rater.shares) for rater in study.raters)
    if not n_raters:
        return ["No neuron was rated before the study was unblinded."]
    return [_sentence(study, comparison, n_raters) for comparison in study.comparisons]


def results_to_json(study: Results) -> bytes:
    """Return all numbers as JSON; NaN and infinity become null."""
    return json.dumps(_without_nan(asdict(study)), ensure_ascii=False, indent=1).encode() + b"\n"


def _sentence(study: Results, comparison: Comparison, n_raters: int) -> str:
    by_name = {side.side: side for side in study.sides}
    first, second = by_name[comparison.first], by_name[comparison.second]
    for side in (first, second):
        if not side.n_neurons:
            return f"No neuron of {side.side} was rated, so it cannot be compared."
    raters = "1 rater" if n_raters == 1 else f"{n_raters} raters"
    is_adjusted = len(study.comparisons) > 1
    return (
        f"{raters} called {format_interval(first.share)} of {first.side}'s {first.n_neurons} neurons "
        f"interpretable, "
        f"and {format_interval(second.share)} of {second.side}'s {second.n_neurons}: a difference of "
        f"{format_interval(comparison.difference, ' points')}, {format_p_value(comparison.p_holm)} "
        f"by the exact test{' (Holm)' * is_adjusted}. "
        + (
            "The models differ by more than chance in drawing the neurons would explain."
            if comparison.p_holm < ALPHA
            else "Chance in drawing the neurons could explain such a difference."
        )
    )


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nan(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
