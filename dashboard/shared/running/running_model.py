"""The loaded model of a place. The only module of the dashboard that loads a checkpoint.

A model is loaded on first use, kept in the server's memory and shared by all sessions. That is safe between
threads, because nothing is registered on the model: hooks are arguments of each forward pass.
Legend: T position, M d_mlp.
"""

import gc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import streamlit as st

from dashboard.shared.catalog import ModelError, ModelFolder
from dashboard.shared.place import Place, Stamp, stamp_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from solu_model.protocols import NeuronModel


@dataclass(frozen=True)
class RunningModel:
    """A loaded model and its tokenizer."""

    model: "NeuronModel"
    tokenizer: "PreTrainedTokenizerFast"
    tokenizer_sha256: str
    """Hash of the tokenizer's definition, as a cache's manifest holds it."""

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a text without the BOS. Names of special tokens are read as ordinary text."""
        from solu_model.text.tokenizer import encode_texts

        return encode_texts(self.tokenizer, [text])[0]

    def activations(
        self, tokens: Sequence[int] | npt.NDArray[np.integer], layer: int, hooks: Sequence[str]
    ) -> dict[str, npt.NDArray[np.float32]]:
        """Compute the activations of all neurons of a layer on a text.

        The text is cut into contexts as in a cache build: BOS first, at most `n_ctx` tokens each.

        Args:
            tokens: without the BOS.
            hooks: some of `hook_pre`, `hook_mid` and `hook_post`; the model must have them.

        Returns:
            `[T, M]` for each hook, without the BOS.
        """
        import torch

        from solu_model.text.contexts import document_contexts

        bos = self.model.config.bos_token_id
        assert bos is not None  # a cache cannot be built without one
        names = {hook: f"blocks.{layer}.mlp.{hook}" for hook in hooks}
        contexts: dict[str, list[npt.NDArray[np.float32]]] = {hook: [] for hook in hooks}
        with torch.inference_mode():
            for context in document_contexts(0, [int(t) for t in tokens], self.model.config.n_ctx, bos):
                acts = self.model.activations(torch.from_numpy(context.tokens)[None], names.values())
                for hook, name in names.items():
                    contexts[hook].append(acts[name][0, 1:].float().numpy())
        empty = np.zeros((0, self.model.config.d_mlp), dtype=np.float32)
        return {hook: np.concatenate(parts) if parts else empty for hook, parts in contexts.items()}


def running_model_at(place: Place) -> RunningModel:
    """Return the model of a place, loading it on first use.

    Raises:
        ModelError: the checkpoint is missing or damaged, or the cache was built with another tokenizer.
    """
    model = place.model
    if not model.weights:
        raise ModelError(f"{model.weights_problem}. This needs the model to run")
    running = _load(
        *checkpoint_version(model), stamp_of(model.path / "tokenizer.json"), place.cache.manifest.dtype
    )
    expected = place.cache.manifest.model.tokenizer
    if running.tokenizer_sha256 != expected:
        raise ModelError(
            f"the cache was built with a tokenizer of SHA-256 {expected[:12]}…, and the tokenizer in "
            f"{model.path} has {running.tokenizer_sha256[:12]}…, so its tokens differ: restore the right "
            "tokenizer.json, or build the cache again"
        )
    return running


def checkpoint_version(model: ModelFolder) -> tuple[str, Stamp]:
    """Return a cache key that changes when one of the checkpoint's files changes."""
    return str(model.path), stamp_of(*model.weights)


@st.cache_resource(max_entries=2, show_spinner="Loading the model…")
def _load(path: str, weights: Stamp, tokenizer: Stamp, dtype: str) -> RunningModel:  # noqa: ARG001 parts of the key
    import torch

    from solu_model.loading.adapters import load_neuron_model
    from solu_model.loading.checkpoints import CheckpointError
    from solu_model.text.tokenizer import tokenizer_hash

    try:
        model, loaded_tokenizer = load_neuron_model(path, dtype=dtype)
    except CheckpointError as error:
        raise ModelError(str(error)) from error
    # One thread a forward pass: sessions run side by side, and with more threads, which wait for each
    # other, a text took 10 to 130 ms in place of 5.
    torch.set_num_threads(1)
    # Modules and weights stay for good. Without freezing, a full garbage collection looks through them all
    # and took 0.2 s.
    gc.collect()
    gc.freeze()
    return RunningModel(model, loaded_tokenizer, tokenizer_hash(loaded_tokenizer))
