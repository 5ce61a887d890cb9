"""Statistics of a blinded rating study, for the pages and for notebooks.

from analysis.rating import in_words, n_for, read_csv, results

print(*in_words(results(read_csv("ratings.csv"))), sep="\\n")
print(n_for(0.35, 0.6))  # neurons a model
"""

from analysis.rating.exact import exact_test
from analysis.rating.power import exact_power, neurons_needed
from analysis.rating.ratings import UnblindedRating, ratings_from_rows, read_ratings
from analysis.rating.report import results_to_json, summary_sentences
from analysis.rating.results import Results, results

__all__ = [
    "Results",
    "UnblindedRating",
    "exact_power",
    "exact_test",
    "neurons_needed",
    "ratings_from_rows",
    "read_ratings",
    "results",
    "results_to_json",
    "summary_sentences",
]
