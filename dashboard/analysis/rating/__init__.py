"""Statistics of a blinded rating study, for the pages and for notebooks.

from dashboard.analysis.rating import in_words, n_for, read_csv, results

print(*in_words(results(read_csv("ratings.csv"))), sep="\\n")
print(n_for(0.35, 0.6))  # neurons a model
"""

from dashboard.analysis.rating.exact import exact_test
from dashboard.analysis.rating.power import n_for, power_of
from dashboard.analysis.rating.rated import Rated, rated, read_csv
from dashboard.analysis.rating.results import Results, results
from dashboard.analysis.rating.words import in_words, to_json

__all__ = [
    "Rated",
    "Results",
    "exact_test",
    "in_words",
    "n_for",
    "power_of",
    "rated",
    "read_csv",
    "results",
    "to_json",
]
