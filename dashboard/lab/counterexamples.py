"""Counterexamples to a hypothesis in a sample. Legend: N tokens of the sample."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cache.reader import Example
from dashboard.lab.sample_activations import Sample
from dashboard.lab.sample_marks import context_indices, mark_sample
from dashboard.shared.components.token_view import Group, token_view_data
from dashboard.shared.example_name import ExampleName
from dashboard.shared.place import Place

MAX_EXAMPLES = 10
"""Counterexamples of each kind."""
SILENT = 0.05
"""Share of its maximum up to which a neuron is silent on a token."""


@dataclass(frozen=True)
class Counterexamples:
    """Both kinds, as data of the token view."""

    misfits: dict[str, Any]
    """Tokens on which the neuron is not silent and that do not fit, the strongest first."""
    silent: dict[str, Any]
    """Tokens that fit and on which the neuron is silent, in random order."""
    n_fit: int
    """Tokens of the sample that fit."""
    n_silent: int
    """Tokens of the sample that fit and on which the neuron is silent."""


def find_counterexamples(place: Place, hypothesis: str, sample: Sample) -> Counterexamples:
    """Find the counterexamples to a valid hypothesis, at most one of each kind in a context."""
    marks = mark_sample(place, hypothesis, sample.n_contexts)
    acts_N = np.array(sample.activations(place.hook)[place.neuron], dtype=np.float32)
    silent_up_to = SILENT * place.cache.neuron(place.layer, place.neuron).moments(place.hook).max
    misfits = np.flatnonzero(~marks & (acts_N > silent_up_to))
    misfits = misfits[np.argsort(-acts_N[misfits], kind="stable")]
    silent = np.flatnonzero(marks & (acts_N <= silent_up_to))
    # At random: among silent tokens, a lower activation is no stronger evidence.
    drawn = np.random.default_rng(0).permutation(silent)
    return Counterexamples(
        misfits=_view_data(place, hypothesis, sample, misfits, "misfits"),
        silent=_view_data(place, hypothesis, sample, drawn, "silent"),
        n_fit=int(marks.sum()),
        n_silent=len(silent),
    )


def _view_data(
    place: Place, hypothesis: str, sample: Sample, tokens: npt.NDArray[np.int64], kind: str
) -> dict[str, Any]:
    """Build the data of the token view for the first tokens, one in a context.

    Each example has the name by which the editor opens it.
    """
    contexts = context_indices(place, sample.n_contexts)
    _, first_in_context = np.unique(contexts[tokens], return_index=True)
    chosen = tokens[np.sort(first_in_context)[:MAX_EXAMPLES]]
    rows, documents = place.cache.sample(), place.cache.documents()
    starts = np.searchsorted(contexts, np.arange(sample.n_contexts))
    all_marks = mark_sample(place, hypothesis, sample.n_contexts)
    examples, marks, names = [], [], []
    for token in chosen:
        context = int(contexts[token])
        ids = rows["tokens"][context].values.to_numpy()
        in_sample = slice(int(starts[context]), int(starts[context]) + len(ids))
        acts = {
            hook: np.array(sample.activations(hook)[place.neuron, in_sample], dtype=np.float32)
            for hook in place.cache.hooks
        }
        peak, document = int(token) - in_sample.start, rows["document"][context].as_py()
        start = rows["context_start"][context].as_py()
        examples.append(
            Example(
                float(acts[place.hook][peak]), ids, peak, acts, start + peak, start, document,
                documents[document],
            )
        )  # fmt: skip
        marks.append(all_marks[in_sample])
        names.append(str(ExampleName("sample", rank=peak, group=context)))
    data = token_view_data(
        [Group("", examples)], place.cache.vocabulary, place.cache.hooks, place.hook,
        f"{place.version} {place.layer} {place.neuron} {place.hook} {hypothesis} {kind} {sample.n_contexts}",
        strongest=place.cache.neuron(place.layer, place.neuron).moments(place.hook).max, marks=marks,
    )  # fmt: skip
    named = [row | {"name": name} for row, name in zip(data["examples"], names, strict=True)]
    return data | {"examples": named}
