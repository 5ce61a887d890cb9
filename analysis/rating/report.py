"""What a study found, in a sentence, and as JSON."""

import json
import math
from dataclasses import asdict
from typing import Any

from analysis.formatting import number
from analysis.intervals import Estimate
from analysis.rating.results import Comparison, Results

ALPHA = 0.05


def format_percent(value: float) -> str:
    """A share as whole percent; a dash for NaN."""
    return "–" if math.isnan(value) else f"{100 * value:.0f}%"


def format_interval(estimate: Estimate, unit: str = "%") -> str:
    """A share with its interval, as 60% (47 to 71%); a dash where there is none."""
    if math.isnan(estimate.value):
        return "–"
    value, low, high = (f"{100 * v:.0f}" for v in (estimate.value, estimate.low, estimate.high))
    return f"{value}{unit} ({low} to {high}{unit})"


def format_p_value(p: float) -> str:
    """A p-value: `p = 0.031`, `p < 0.0001`; a dash for NaN."""
    if math.isnan(p):
        return "–"
    return "p < 0.0001" if p < 1e-4 else f"p = {number(p, 2)}"


def summary_sentences(found: Results) -> list[str]:
    """A sentence for each comparison, or why there is none."""
    n_raters = sum(any(s.n for s in rater.shares) for rater in found.raters)
    if not n_raters:
        return ["No neuron was rated before the study was unblinded."]
    return [_sentence(found, comparison, n_raters) for comparison in found.comparisons]


def results_to_json(found: Results) -> bytes:
    """All numbers; NaN becomes null."""
    return json.dumps(_without_nan(asdict(found)), ensure_ascii=False, indent=1).encode() + b"\n"


def _sentence(found: Results, comparison: Comparison, n_raters: int) -> str:
    of = {side.side: side for side in found.sides}
    first, second = of[comparison.first], of[comparison.second]
    for side in (first, second):
        if not side.n_neurons:
            return f"No neuron of {side.side} was rated, so it is compared with nothing."
    raters = "1 rater" if n_raters == 1 else f"{n_raters} raters"
    raised = len(found.comparisons) > 1
    found_one = comparison.p_holm < ALPHA
    return (
        f"{raters} called {format_interval(first.share)} of {first.side}'s {first.n_neurons} neurons "
        f"interpretable, "
        f"and {format_interval(second.share)} of {second.side}'s {second.n_neurons}: a difference of "
        f"{format_interval(comparison.difference, ' points')}, {format_p_value(comparison.p_holm)} "
        f"by the exact test{' (Holm)' * raised}. "
        + (
            "The models differ by more than chance in drawing neurons would give."
            if found_one
            else "Chance in drawing neurons could give such a difference."
        )
    )


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nan(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
