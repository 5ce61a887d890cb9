"""The protocol `NeuronModel`: the interface of a model whose neurons can be cached and browsed.

`SoluForCausalLM` implements it; `solu_model.loading.adapters.adapt` wraps other causal models in it.
Legend: B batch, T position, D d_model, M d_mlp, V d_vocab.
"""

import operator
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, SupportsIndex, runtime_checkable

import torch
from torch import Tensor

from solu_model.taps import Visit

Index = SupportsIndex
"""An index: an int, an integer of numpy, or a tensor of one integer."""


class NeuronModelConfig(Protocol):
    """The sizes of a model, from which the layout of a cache follows."""

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""

    @property
    def n_layers(self) -> int:
        """Number of blocks."""

    @property
    def d_mlp(self) -> int:
        """Neurons per block."""

    @property
    def n_ctx(self) -> int:
        """Longest context in tokens, including the BOS."""

    @property
    def d_vocab(self) -> int:
        """Number of tokens in the vocabulary."""

    @property
    def act_fn(self) -> str:
        """Name of the activation."""

    @property
    def has_mlp_norm(self) -> bool:
        """True if a LayerNorm separates `hook_mid` from `hook_post`; without one there is no `hook_mid`."""

    @property
    def bos_token_id(self) -> int | None:
        """Id of the token at position 0 of every context; None if the model has none."""


@dataclass(frozen=True)
class OutputPath:
    """The weights between a neuron of one layer and the logits.

    Attributes:
        W_out: `[M, D]`, the vector that each neuron writes to the residual stream per unit of `hook_post`; a
            constant factor of the model on what its MLPs write is in it.
        mlp_norm: `[M]`, the weight of the LayerNorm between `hook_mid` and `hook_post`; None without one.
        final_norm: `[D]`, the weight of the norm before the unembedding; a constant factor of the model on
            its logits is in it.
        centres: True if that norm subtracts the mean (LayerNorm), False if not (RMS).
        W_U: `[D, V]`, the unembedding.
    """

    W_out: Tensor
    mlp_norm: Tensor | None
    final_norm: Tensor
    centres: bool
    W_U: Tensor


@runtime_checkable
class NeuronModel(Protocol):
    """A causal language model whose MLP activations can be read by TransformerLens's names."""

    @property
    def config(self) -> NeuronModelConfig:
        """The model's sizes."""

    @property
    def device(self) -> torch.device:
        """Device on which it takes tokens."""

    def point_names(self) -> list[str]:
        """Return the names of its activations, in forward order, e.g. `blocks.0.mlp.hook_post`."""

    def activations(
        self,
        tokens: Tensor,
        names: Iterable[str],
        attention_mask: Tensor | None = None,
        *,
        visit: Visit | None = None,
    ) -> dict[str, Tensor]:
        """Run the model as far as the last wanted point and return activations, without logits.

        Args:
            tokens: `[B, T]` ids.
            names: names from `point_names()`.
            attention_mask: `[B, T]`, 0 at padding.
            visit: a callback that receives each name and its activations as soon as the pass reaches them.
                Then nothing is kept or returned, so that memory does not grow with the number of layers. The
                callback must not write to the activations, which the pass still needs, nor run the model.

        Returns:
            Activations by name, `[B, T, M]` for points of the MLP; empty with `visit`.

        Raises:
            ValueError: the model has no point of that name, or T exceeds `n_ctx`.
        """

    def run_with_cache(self, tokens: Tensor, names: Iterable[str]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return logits `[B, T, V]` and activations by name; arguments and errors as in `activations`."""

    def output_path(self, layer: int) -> OutputPath:
        """Return the weights between the neurons of `layer` and the logits.

        Raises:
            IndexError: there is no such layer.
            TypeError: a neuron's effect on the logits does not follow from the weights in this model; the
                message says why.
        """

    def output_weights(self, layer: int) -> Tensor:
        """Return the weights that multiply `hook_post` in `layer`, `[M, D]`.

        Raises:
            IndexError: there is no such layer.
        """

    def input_weights(self, layer: int) -> Tensor:
        """Return the weights from the residual stream to `hook_pre` in `layer`, `[D, M]`.

        They are W_in; in a gated MLP they are the weights of the gate.

        Raises:
            IndexError: there is no such layer.
        """


def checked_index(index: Index, size: int, what: str) -> int:
    """Return an index as an int.

    Raises:
        IndexError: it is not below `size`.
        TypeError: it is not an integer; a boolean is not, as a mask would be read as the indices 0 and 1.
    """
    try:
        if isinstance(index, bool) or "bool" in str(getattr(index, "dtype", "")):
            raise TypeError
        index = operator.index(index)
    except TypeError:
        raise TypeError(f"{what} must be an integer, 0 to {size - 1}, got {index!r:.80}") from None
    if not 0 <= index < size:  # torch would count a negative index from the end
        raise IndexError(f"{what} must be 0 to {size - 1}, got {index}")
    return index
