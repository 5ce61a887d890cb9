"""A model that runs: what a cache cannot answer. The one part of the dashboard that brings torch in.

It is loaded at the first question, into the memory of the server, and shared by all sessions: nothing is
registered on it, so that threads do not meet. Legend: T position, M d_mlp, V d_vocab.
"""

import gc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import streamlit as st

from dashboard.shared.catalog import WEIGHTS, FoundModel, ModelError
from dashboard.shared.place import Place, Stamp, stamp_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from solu_model.protocols import NeuronModel


@dataclass(frozen=True)
class Live:
    """A loaded model and its tokenizer."""

    model: "NeuronModel"
    tokenizer: "PreTrainedTokenizerFast"
    tokenizer_sha256: str
    """Of its definition, as a cache names it."""

    def tokens_of(self, text: str) -> list[int]:
        """A text's tokens, without the BOS. Names of special tokens in it are ordinary text."""
        from solu_model.text.tokenizer import encode_texts

        return encode_texts(self.tokenizer, [text])[0]

    def activations(
        self, tokens: Sequence[int] | npt.NDArray[np.integer], layer: int, hooks: Sequence[str]
    ) -> dict[str, npt.NDArray[np.float32]]:
        """What every neuron of a layer does on a text, cut into contexts as a cache is built: BOS first,
        at most `n_ctx` tokens each.

        Args:
            tokens: without the BOS.
            hooks: of `hook_pre`, `hook_mid` and `hook_post`, those that the model has.

        Returns:
            By hook, `[T, M]`, the BOS left out.
        """
        import torch

        from solu_model.text.contexts import document_contexts

        bos = self.model.config.bos_token_id
        assert bos is not None  # without one no cache is built
        names = {hook: f"blocks.{layer}.mlp.{hook}" for hook in hooks}
        rows: dict[str, list[npt.NDArray[np.float32]]] = {hook: [] for hook in hooks}
        with torch.inference_mode():
            for context in document_contexts(0, [int(t) for t in tokens], self.model.config.n_ctx, bos):
                found = self.model.activations(torch.from_numpy(context.tokens)[None], names.values())
                for hook, name in names.items():
                    rows[hook].append(found[name][0, 1:].float().numpy())
        empty = np.zeros((0, self.model.config.d_mlp), dtype=np.float32)
        return {hook: np.concatenate(parts) if parts else empty for hook, parts in rows.items()}


def live_model(model: FoundModel) -> Live:
    """The model, loaded at the first call.

    Raises:
        ModelError: its checkpoint is missing or damaged.
    """
    if not model.weights.is_file():
        raise ModelError(
            f"{model.path} holds no {WEIGHTS}, so that nothing can be computed anew: put the checkpoint "
            "beside its cache"
        )
    return _loaded(*version_of(model), stamp_of(model.path / "tokenizer.json"))


def version_of(model: FoundModel) -> tuple[str, Stamp]:
    """What says which checkpoint it is, for keys of what is kept between runs."""
    return str(model.path), stamp_of(model.weights)


def live_at(place: Place) -> Live:
    """The model of a place, whose tokens are those of the cache.

    Raises:
        ModelError: its checkpoint is missing or damaged, or its tokenizer is another than the cache's.
    """
    live = live_model(place.model)
    expected = place.cache.manifest.model.tokenizer
    if live.tokenizer_sha256 != expected:
        raise ModelError(
            f"the cache was built with a tokenizer of SHA-256 {expected[:12]}…, that of {place.model.path} "
            f"is {live.tokenizer_sha256[:12]}…: its tokens are others. Put the right tokenizer.json "
            "back, or build the cache again"
        )
    return live


@st.cache_resource(max_entries=2, show_spinner="Loading the model…")
def _loaded(path: str, weights: Stamp, tokens: Stamp) -> Live:  # noqa: ARG001 parts of the key
    import torch

    from solu_model.loading.adapters import load_neuron_model
    from solu_model.loading.checkpoints import CheckpointError
    from solu_model.text.tokenizer import tokenizer_hash

    try:
        model, tokenizer = load_neuron_model(path)
    except CheckpointError as error:
        raise ModelError(str(error)) from error
    # Sessions run side by side: threads that wait for each other took 10 to 130 ms a text, a single one 5.
    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()  # what was imported and loaded is never looked through again: a full collection took 0.2 s
    return Live(model, tokenizer, tokenizer_hash(tokenizer))
