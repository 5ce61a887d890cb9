"""Statistics of a blinded rating study: in what share of a model's neurons do raters see one meaning?

from analysis.rating import neurons_needed, read_ratings, compute_results, summary_sentences

print(*summary_sentences(compute_results(read_ratings("ratings.csv"))), sep="\\n")
print(neurons_needed(0.35, 0.6))  # neurons of each model

ratings.py     ratings of an unblinded study, from its export
shares.py      share of neurons called interpretable, with its interval
exact.py       exact tests of two models
agreement.py   agreement between raters, of raters with themselves, and with known answers
power.py       number of neurons that a study needs
results.py     all of these for one study
report.py      results as sentences, as numbers to read, and as JSON
"""

from analysis.rating.exact import exact_test
from analysis.rating.power import exact_power, neurons_needed
from analysis.rating.ratings import UnblindedRating, ratings_from_rows, read_ratings
from analysis.rating.report import results_to_json, summary_sentences
from analysis.rating.results import Results, compute_results

__all__ = [
    "Results",
    "UnblindedRating",
    "compute_results",
    "exact_power",
    "exact_test",
    "neurons_needed",
    "ratings_from_rows",
    "read_ratings",
    "results_to_json",
    "summary_sentences",
]
