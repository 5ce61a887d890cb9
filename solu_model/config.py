"""The configuration of a model, `SoluConfig`: its shape and its arithmetic.

Field names follow TransformerLens. Through `attribute_map` transformers' names work as well.
"""

from typing import ClassVar, Literal

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

ActFn = Literal["solu_ln", "solu", "exp_ln", "gelu", "gelu_ln"]

_LARGEST = {
    "d_vocab": 2**31 - 1,
    "n_ctx": 2**31 - 1,
    "d_model": 2**24,
    "n_layers": 2**16,
    "n_heads": 2**16,
    "d_head": 2**24,
    "d_mlp": 2**28,
    "n_mlp_blocks": 2**28,
}
"""Largest value of each size: far above any model, and small enough that no product of two overflows."""
_LARGEST_INITIAL_WEIGHT = 100.0


@strict
class SoluConfig(PreTrainedConfig):
    """Shape and arithmetic of a decoder-only transformer with SoLU or GELU neurons.

    Section numbers are those of the paper, "Softmax Linear Units" (Transformer Circuits, 2022).

    Args:
        d_vocab: number of tokens in the vocabulary.
        n_ctx: longest context in tokens, including the BOS at position 0.
        d_model: width of the residual stream.
        n_layers: number of blocks.
        n_heads: attention heads per block.
        d_head: width of one head; n_heads * d_head need not equal d_model.
        d_mlp: neurons per block.
        act_fn: `solu_ln` LN(x * softmax(x)) (4.3), `solu` x * softmax(x) (4.2), `exp_ln` LN(x * exp(x))
            (4.3), `gelu` in its tanh form, `gelu_ln` LN(gelu(x)), the paper's ablation.
        n_mlp_blocks: number of equal blocks of neurons, each with its own softmax and LayerNorm (4.4).
        final_rms: True: the norm before the unembedding is RMS, with a weight and no bias.
        layer_norm_eps: added to the variance in every LayerNorm.
        mlp_layer_norm_eps: the same for the LayerNorm after the activation; None means `layer_norm_eps`.
            An exp_ln model needs a smaller one to become a solu_ln model: see `to_solu_ln`.
        initializer_range: standard deviation of the initial weights; divided by sqrt(2 * n_layers) for the
            matrices that write to the residual stream (W_O, W_out).
        bos_token_id: id of the token at position 0 of every context.
    """

    model_type = "solu"
    attribute_map: ClassVar[dict[str, str]] = {
        "vocab_size": "d_vocab",
        "max_position_embeddings": "n_ctx",
        "hidden_size": "d_model",
        "num_hidden_layers": "n_layers",
        "num_attention_heads": "n_heads",
        "head_dim": "d_head",
        "intermediate_size": "d_mlp",
        "hidden_act": "act_fn",
    }

    d_vocab: int = 8192
    n_ctx: int = 512
    d_model: int = 384
    n_layers: int = 1
    n_heads: int = 6
    d_head: int = 64
    d_mlp: int = 1536
    act_fn: ActFn = "solu_ln"
    n_mlp_blocks: int = 1
    final_rms: bool = False
    layer_norm_eps: float = 1e-5
    mlp_layer_norm_eps: float | None = None
    initializer_range: float = 0.02
    bos_token_id: int | None = 0
    eos_token_id: int | list[int] | None = 0
    pad_token_id: int | None = None
    tie_word_embeddings: bool = False

    def validate_tying(self) -> None:
        """Check that embedding and unembedding are not tied. `@strict` calls this after construction.

        Raises:
            ValueError: `tie_word_embeddings` is true.
        """
        if self.tie_word_embeddings:
            raise ValueError(
                "tie_word_embeddings must be false: W_E [d_vocab, d_model] and W_U [d_model, d_vocab] are "
                "two parameters. To begin with equal ones, copy W_E.T into W_U"
            )

    def validate_shape(self) -> None:
        """Check the range of every field. `@strict` calls this after construction.

        Raises:
            ValueError: a size is below 1 or larger than that of any model, n_mlp_blocks does not divide
                d_mlp, an eps is not a positive number, initializer_range is negative, or a special token is
                not in the vocabulary. The message names all of these.
        """
        wrong = []
        for name, largest in _LARGEST.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not 1 <= value <= largest:
                wrong.append(f"{name} must be 1 to {largest:,}, got {_written(value)}")
        if not wrong and self.d_mlp % self.n_mlp_blocks:
            wrong.append(f"n_mlp_blocks must divide d_mlp = {self.d_mlp}, got {self.n_mlp_blocks}")
        for name in ("layer_norm_eps", "mlp_layer_norm_eps"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not 0 < value <= 1):
                wrong.append(f"{name} must be above 0 and at most 1, got {_written(value)}")
        value = self.initializer_range
        if isinstance(value, bool) or not 0 <= value <= _LARGEST_INITIAL_WEIGHT:
            wrong.append(f"initializer_range must be 0 to {_LARGEST_INITIAL_WEIGHT:g}, got {_written(value)}")
        for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
            value = getattr(self, name)
            ids = value if isinstance(value, list) else [] if value is None else [value]
            # Many configurations give a padding token of -1 for none.
            lowest = -1 if name == "pad_token_id" else 0
            if any(isinstance(i, bool) or not lowest <= i < self.d_vocab for i in ids):
                wrong.append(
                    f"{name} must be a token of the vocabulary (0 to {self.d_vocab - 1}), "
                    f"got {_written(value)}"
                )
        if wrong:
            raise ValueError("; ".join(wrong))

    @property
    def has_mlp_norm(self) -> bool:
        """True if a LayerNorm follows the activation: `hook_mid` before it, `hook_post` after it."""
        return self.act_fn.endswith("_ln")


def _written(value: object) -> str:
    """Return a value for a message; an integer may have thousands of digits."""
    try:
        text = repr(value)
    except ValueError:
        return "a number of thousands of digits"
    return text if len(text) <= 60 else f"{text[:59]}…"
