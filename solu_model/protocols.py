"""What a model must offer to be cached and browsed: `NeuronModel`.

`SoluForCausalLM` is one; `adapters.adapt` makes one of other people's models. Legend: B batch, T position,
D d_model, M d_mlp, V d_vocab.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from solu_model.taps import Visit


class NeuronModelConfig(Protocol):
    """The sizes that a cache is laid out by."""

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""

    @property
    def n_layers(self) -> int:
        """Number of blocks."""

    @property
    def d_mlp(self) -> int:
        """Neurons a block."""

    @property
    def n_ctx(self) -> int:
        """Longest context in tokens, the BOS included."""

    @property
    def d_vocab(self) -> int:
        """Number of tokens in the vocabulary."""

    @property
    def act_fn(self) -> str:
        """Name of the activation."""

    @property
    def has_mlp_norm(self) -> bool:
        """Whether a LayerNorm stands between `hook_mid` and `hook_post`; if not there is no `hook_mid`."""

    @property
    def bos_token_id(self) -> int | None:
        """The token put first in every context; None where the model has none."""


@dataclass(frozen=True)
class OutputPath:
    """The weights between a neuron of one layer and the logits.

    Attributes:
        W_out: `[M, D]`, what each neuron writes to the residual stream per unit of `hook_post`.
        mlp_norm: `[M]`, the weight of the LayerNorm between `hook_mid` and `hook_post`; None without one.
        final_norm: `[D]`, the weight of the norm before the unembedding.
        centres: whether that norm subtracts the mean (LayerNorm) or not (RMS).
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

    def point_names(self) -> list[str]:
        """The activations it has, in the order of the forward pass, e.g. `blocks.0.mlp.hook_post`."""

    def activations(
        self,
        tokens: Tensor,
        names: Iterable[str],
        attention_mask: Tensor | None = None,
        *,
        visit: Visit | None = None,
    ) -> dict[str, Tensor]:
        """Activations alone, `[B, T, M]` by name: the pass ends at the last point asked for.

        Args:
            tokens: `[B, T]` ids.
            names: of `point_names()`.
            attention_mask: `[B, T]`, 0 at padding.
            visit: is given each name and its activations as soon as the pass reaches them. Nothing is kept
                then and nothing returned, so that what is held does not grow with the number of layers. It
                must neither write to them, which the pass goes on with, nor run the model.

        Raises:
            ValueError: a name that the model does not have, or tokens beyond `n_ctx`.
        """

    def run_with_cache(self, tokens: Tensor, names: Iterable[str]) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits `[B, T, V]` and activations; arguments and errors as in `activations`."""

    def output_path(self, layer: int) -> OutputPath:
        """The weights between the neurons of `layer` and the logits.

        Raises:
            IndexError: there is no such layer.
        """

    def input_weights(self, layer: int) -> Tensor:
        """`[D, M]`, what the `hook_pre` of each neuron of `layer` reads: W_in, of a gated MLP its gate.

        Raises:
            IndexError: there is no such layer.
        """
