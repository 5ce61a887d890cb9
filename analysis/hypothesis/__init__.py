"""The hypothesis lab, for pages and notebooks: does a neuron mean what one thinks?

    from cache.reader import NeuronCache
    from analysis.hypothesis import consistency, parse

    cache = NeuronCache.open("models/solu-1l/neurons")
    ranges = cache.neuron(0, 539).ranges("hook_mid")
    for level in consistency(parse('source "base64_hex"'), ranges, cache.vocabulary).levels:
        print(level.low, level.high, level.share)

In place of a parsed hypothesis any function may stand that says of each token of a `Context` whether it fits.
"""

from analysis.hypothesis.consistency import Consistency, Level, consistency, mark_examples
from analysis.hypothesis.language import Context, Hypothesis, HypothesisError, Predicate
from analysis.hypothesis.parsing import parse
from analysis.intervals import Estimate, difference, wilson

__all__ = [
    "Consistency",
    "Context",
    "Estimate",
    "Hypothesis",
    "HypothesisError",
    "Level",
    "Predicate",
    "consistency",
    "difference",
    "mark_examples",
    "parse",
    "wilson",
]
