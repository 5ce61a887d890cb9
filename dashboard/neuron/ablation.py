"""Ablate a neuron on its own examples: compare the output with and without it.

An example is run alone, as the cache keeps it: a window of its context after a BOS. If the window begins
later than the context did, the model sees less text than it saw when the cache was built. Legend: E examples,
T tokens of a window, V d_vocab.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import streamlit as st

from analysis.token_effects import percentile_rank
from cache.reader import Example
from dashboard.neuron.service import NeuronFacts
from dashboard.shared.catalog import ModelError
from dashboard.shared.neuron_examples import example_groups, examples_data
from dashboard.shared.place import Place, Stamp
from dashboard.shared.places import open_cache
from dashboard.shared.running.running_model import RunningModel, checkpoint_version, running_model_at

Replacement = Literal["zero", "mean", "held"]
"""Replacement of the neuron's `hook_post`: 0, its mean over the corpus, or 0 with the final norm's divisor
held at its value with the neuron."""

REPLACEMENT = "output_replacement"
"""Session state: the chosen replacement; zero if none was chosen."""
UNDERLINE = "output_underline"
"""Session state: true if the tokens of the examples are underlined by what the neuron adds."""


@dataclass(frozen=True)
class Ablation:
    """Change of the output on the examples: with the neuron, less without it."""

    at_peaks: npt.NDArray[np.float32]
    """`[V]` change of the logits at the peak, centred over the vocabulary, averaged over the examples."""
    changes: list[npt.NDArray[np.float32]]
    """By example, `[T]` in nats: change of the log-probability of the next token. NaN at the last token."""
    following: list[int | None]
    """By example, the token after the peak; None if the window ends at the peak."""
    percentiles: list[float]
    """By example, the percentile (0 to 1) of that token among the changes at the peak; NaN without one."""
    n_cut: int
    """Number of examples whose context began before their window."""


def begins_its_context(example: Example) -> bool:
    """Return True if no text stood before the example's window when the cache was built."""
    return example.position - example.peak == example.context_start


def ablation(place: Place, view: str) -> Ablation:
    """Ablate a place's neuron on the examples of a view, with the session's replacement.

    Every example is run twice, with the neuron and without it.

    Raises:
        ModelError: the model cannot be loaded or is not a SoLU model, or the place has no examples.
    """
    live, model, cache = running_model_at(place), checkpoint_version(place.model), place.version
    return _ablation(*model, *cache, place.layer, place.neuron, place.hook, view, _replacement(), live)


def underlined(place: Place, facts: NeuronFacts) -> dict[str, Any]:
    """Return the data of the token view, underlined by ablation if that was chosen and is possible."""
    if place.panel != "output" or not st.session_state.get(UNDERLINE):
        return facts.examples
    try:
        changes = ablation(place, place.view).changes
    except ModelError:
        return facts.examples  # the panel shows the error
    against = _replacement()
    if place.range is not None:
        groups = example_groups(place.cache.neuron(place.layer, place.neuron), place.hook, place.view)
        lengths = [len(group.examples) for group in reversed(groups)]  # as ranges are numbered
        last = len(changes) - sum(lengths[: place.range])
        changes = changes[last - lengths[place.range] : last]
    return _underlined(
        *place.version, place.layer, place.neuron, place.hook, place.view, place.range, against, changes
    )


def _replacement() -> Replacement:
    chosen: Replacement = st.session_state.get(REPLACEMENT) or "zero"
    return chosen


@st.cache_resource(max_entries=64, show_spinner=False)
def _underlined(
    path: str,
    stamp: Stamp,
    layer: int,
    index: int,
    hook: str,
    view: str,
    only: int | None,
    against: Replacement,
    _changes: list[npt.NDArray[np.float32]],
) -> dict[str, Any]:
    return examples_data(path, stamp, layer, index, hook, view, only, _changes, f"less {against}")


@st.cache_resource(max_entries=64, show_spinner="Running the examples with and without the neuron…")
def _ablation(
    model_path: str,
    model_stamp: Stamp,  # noqa: ARG001 part of the key
    path: str,
    stamp: Stamp,
    layer: int,
    index: int,
    hook: str,
    view: str,
    replacement: Replacement,
    _live: RunningModel,
) -> Ablation:
    import torch

    from solu_model.logit_effects import logits_with_and_without
    from solu_model.model import SoluForCausalLM

    model = _live.model
    if not isinstance(model, SoluForCausalLM):
        raise ModelError(
            f"{model_path} holds a model of type {type(model).__name__}: only models of this package, "
            "SoluForCausalLM, can be run without a neuron"
        )
    neuron = open_cache(path, stamp).neuron(layer, index)
    examples = [e for group in example_groups(neuron, hook, view) for e in group.examples]
    if not examples:
        raise ModelError("this neuron has no example to run")
    value = neuron.moments("hook_post").mean if replacement == "mean" else 0.0
    total = np.zeros(model.config.d_vocab)
    changes, following, percentiles = [], [], []
    for example in examples:
        tokens = torch.tensor([_live.tokenization.context(example.tokens.tolist())])
        with_BTV, without_BTV = logits_with_and_without(
            model, tokens, layer, index, replacement=value, hold_final_scale=replacement == "held"
        )
        # The BOS is left out: row i follows token i of the window.
        n_lead = _live.tokenization.n_lead
        with_TV, without_TV = with_BTV[0, n_lead:], without_BTV[0, n_lead:]
        at_peak = (with_TV[example.peak] - without_TV[example.peak]).double().numpy()
        total += at_peak - at_peak.mean()
        next_tokens = tokens[0, n_lead + 1 :, None]
        log_p = [logits.log_softmax(-1)[:-1].gather(1, next_tokens)[:, 0] for logits in (with_TV, without_TV)]
        changes.append(np.append((log_p[0] - log_p[1]).float().numpy(), np.float32(np.nan)))
        after = example.tokens[example.peak + 1 :]
        following.append(int(after[0]) if len(after) else None)
        percentiles.append(percentile_rank(at_peak, int(after[0])) if len(after) else math.nan)
    return Ablation(
        (total / len(examples)).astype(np.float32),
        changes,
        following,
        percentiles,
        sum(not begins_its_context(e) for e in examples),
    )
