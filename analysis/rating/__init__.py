"""Statistics of a blinded rating study, for the pages and for notebooks.

from analysis.rating import in_words, n_for, read_csv, results

print(*in_words(results(read_csv("ratings.csv"))), sep="\\n")
print(n_for(0.35, 0.6))  # neurons a model
"""

from analysis.rating.exact import exact_test
from analysis.rating.power import n_for, power_of
from analysis.rating.rated import Rated, rated, read_csv
from analysis.rating.results import Results, results
from analysis.rating.words import in_words, to_json

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
