"""Tests of hypotheses about a neuron: does it fire on what one thinks, and only on that?

    from analysis.hypothesis import measure_consistency, parse
    from cache.reader import NeuronCache

    cache = NeuronCache.open("models/solu-1l/neurons")
    ranges = cache.neuron(0, 539).ranges("hook_mid")
    for level in measure_consistency(parse('source "base64_hex"'), ranges, cache.vocabulary).levels:
        print(level.low, level.high, level.share)

Any function that marks the tokens of a `Context` can take the place of a parsed hypothesis.

    language.py      parts of a hypothesis: patterns, tokens, sources, not, and, or, within
    parsing.py       text to hypothesis
    consistency.py   share of a neuron's activations that fit, by level of activation
    detection.py     precision and recall of a neuron that should find what fits
    ranking.py       neurons of a layer for a hypothesis; simple hypotheses for a neuron
"""

from analysis.hypothesis.consistency import Consistency, Level, mark_examples, measure_consistency
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
    "difference",
    "mark_examples",
    "measure_consistency",
    "parse",
    "wilson",
]
