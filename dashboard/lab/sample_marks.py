"""The tokens of a sample that fit a hypothesis, kept between runs of the page. Legend: N tokens."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import streamlit as st

from analysis.hypothesis import Context, parse
from analysis.hypothesis.language import Marks
from dashboard.shared.place import Place, Stamp
from dashboard.shared.places import open_cache


def mark_sample(place: Place, hypothesis: str, n_contexts: int) -> Marks:
    """Mark the tokens of a sample that fit a valid hypothesis, `[N]`."""
    return _mark_sample(*place.version, hypothesis, n_contexts)


@st.cache_resource(max_entries=64, show_spinner=False)
def _mark_sample(path: str, stamp: Stamp, hypothesis: str, n_contexts: int) -> Marks:
    predicate = parse(hypothesis)
    marks = [predicate(context) for context in sample_contexts(path, stamp, n_contexts)]
    return np.concatenate(marks) if marks else np.zeros(0, dtype=bool)


def context_indices(place: Place, n_contexts: int) -> npt.NDArray[np.int64]:
    """Return the index of the context that each token of a sample is in, `[N]`."""
    lengths = [len(context.token_bytes) for context in sample_contexts(*place.version, n_contexts)]
    return np.repeat(np.arange(n_contexts), lengths)


@st.cache_resource(max_entries=4, show_spinner=False)
def sample_contexts(path: str, stamp: Stamp, n_contexts: int) -> Sequence[Context]:
    """Return the contexts of a sample in the form that hypotheses take.

    Args:
        path: of the cache.
        stamp: of its manifest.
    """
    cache = open_cache(path, stamp)
    rows, documents = cache.sample().slice(0, n_contexts), cache.documents()
    contexts = []
    for tokens, document in zip(rows["tokens"], rows["document"].to_pylist(), strict=True):
        data = [cache.vocabulary.token_bytes[t] for t in tokens.values.to_numpy()]
        origin = documents.get(document)
        context = Context(data, origin.source or "", origin.lang or "") if origin else Context(data)
        contexts.append(context)
    return contexts
