"""The loaded model of a place. The only module of the dashboard that loads a checkpoint.

A model is loaded on first use, kept in the server's memory and shared by all sessions. That is safe between
threads, because nothing is registered on the model: hooks are arguments of each forward pass.
Legend: T position, M d_mlp.
"""

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import streamlit as st

from cache.format.schema import CacheError
from dashboard.shared.catalog import ModelError, ModelFolder
from dashboard.shared.place import Place, Stamp, stamp_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from solu_model.protocols import NeuronModel
    from solu_model.text.tokenization import Tokenization


@dataclass(frozen=True)
class RunningModel:
    """A loaded model, and the way in which text becomes its tokens."""

    model: "NeuronModel"
    tokenizer: "PreTrainedTokenizerFast"
    tokenization: "Tokenization"
    """That of the cache: a page reads text as the cache's build did."""

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a text without the BOS. Names of special tokens are read as ordinary text.

        Raises:
            ModelError: the tokenizer fails on the text, or the model has no embedding for one of its tokens.
        """
        with tokenizer_errors_as_model_errors():
            return self.tokenization.encode([text])[0]

    def activations(
        self, tokens: Sequence[int] | npt.NDArray[np.integer], layer: int, hooks: Sequence[str]
    ) -> dict[str, npt.NDArray[np.float32]]:
        """Compute the activations of all neurons of a layer on a text.

        The text is cut into contexts as in the build of the cache.

        Args:
            tokens: without the BOS.
            hooks: some of `hook_pre`, `hook_mid` and `hook_post`; the model must have them.

        Returns:
            `[T, M]` for each hook, without the BOS.
        """
        import torch

        names = {hook: f"blocks.{layer}.mlp.{hook}" for hook in hooks}
        contexts: dict[str, list[npt.NDArray[np.float32]]] = {hook: [] for hook in hooks}
        with torch.inference_mode():
            for context in self.tokenization.contexts(0, [int(t) for t in tokens]):
                acts = self.model.activations(torch.from_numpy(context.tokens)[None], names.values())
                for hook, name in names.items():
                    contexts[hook].append(acts[name][0, context.n_lead :].float().numpy())
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
    manifest = place.cache.manifest
    loaded = _load(*checkpoint_version(model), stamp_of(model.path / "tokenizer.json"), manifest.dtype)
    if loaded.tokenization.sha256 != manifest.model.tokenizer:
        raise ModelError(
            f"the cache was built with a tokenizer of SHA-256 {manifest.model.tokenizer[:12]}…, and the "
            f"tokenizer in {model.path} has {loaded.tokenization.sha256[:12]}…, so its tokens differ: "
            "restore the right tokenizer.json, or build the cache again"
        )
    from cache.shards.tokenization import recorded

    try:
        tokenization = recorded(loaded.tokenization, manifest.model, manifest.tokenization)
    except CacheError as error:
        raise ModelError(str(error)) from error
    return replace(loaded, tokenization=tokenization)


@contextmanager
def tokenizer_errors_as_model_errors() -> Iterator[None]:
    """Raise a `ModelError` where a tokenizer fails."""
    from solu_model.text.tokenizer_error import TokenizerError

    try:
        yield
    except TokenizerError as error:
        raise ModelError(str(error)) from error


def checkpoint_version(model: ModelFolder) -> tuple[str, Stamp]:
    """Return a cache key that changes when one of the checkpoint's files changes."""
    return str(model.path), stamp_of(*model.weights)


@st.cache_resource(max_entries=2, show_spinner="Loading the model…")
def _load(
    path: str,
    weights: Stamp,  # noqa: ARG001 parts of the key
    tokenizer_file: Stamp,  # noqa: ARG001
    dtype: str,
) -> RunningModel:
    import torch

    from solu_model.loading.adapters import load_neuron_model
    from solu_model.loading.checkpoints import CheckpointError
    from solu_model.text.tokenization import Tokenization
    from solu_model.text.tokenizer_error import TokenizerError

    try:
        model, tokenizer = load_neuron_model(path, dtype=dtype)
        config = model.config
        # With the tokenizer's own BOS: `running_model_at` takes that of the cache.
        tokenization = Tokenization.by_tokenizer(tokenizer, config.d_vocab, config.n_ctx)
    except (CheckpointError, TokenizerError) as error:
        raise ModelError(str(error)) from error
    # One thread a forward pass: sessions run side by side, and with more threads, which wait for each
    # other, a text took 10 to 130 ms in place of 5.
    torch.set_num_threads(1)
    # Modules and weights stay for good. Without freezing, a full garbage collection looks through them all
    # and took 0.2 s.
    gc.collect()
    gc.freeze()
    return RunningModel(model, tokenizer, tokenization)
