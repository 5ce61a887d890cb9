"""Small random models of many families, and a neuron's effect measured through the model itself.

Nothing here uses the adapter: the modules are named by hand, and a neuron is ablated by a hook on the model's
own down projection.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

V, D, M, N_LAYERS, N_CTX = 40, 16, 24, 3, 32
PLAIN = {
    "hidden_size": D,
    "num_hidden_layers": N_LAYERS,
    "num_attention_heads": 2,
    "vocab_size": V,
    "intermediate_size": M,
    "max_position_embeddings": N_CTX,
}
GROUPED = PLAIN | {"num_key_value_heads": 1, "head_dim": 8}
GPT2 = {
    "n_embd": D,
    "n_layer": N_LAYERS,
    "n_head": 2,
    "vocab_size": V,
    "n_positions": N_CTX,
    "n_inner": M,
}
FAIRSEQ = {
    "num_hidden_layers": N_LAYERS,
    "num_attention_heads": 2,
    "vocab_size": V,
    "max_position_embeddings": N_CTX,
}
SCALED = {"residual_multiplier": 0.22, "logits_scaling": 8.0, "embedding_multiplier": 12.0}
GEMMA = GROUPED | {"query_pre_attn_scalar": 8}
PADDED = GROUPED | {"pad_token_id": 0}

AFTER_MLP = "a neuron does not add a multiple of its row of W_out"
CAPPED = "not in proportion to the unembedding's output"


@dataclass(frozen=True)
class Family:
    """A family's configuration and the names of its modules."""

    title: str
    model_type: str
    config: dict[str, Any]
    mlp: str = "mlp"
    inward: str = "gate_proj"
    outward: str = "down_proj"
    norm: str = "norm"
    centres: bool = False
    act_fn: str = "silu"
    d_mlp: int = M
    factor: str = ""
    """The map whose output multiplies the activation; `halves` if the second half of `inward` does."""
    refusal: str = ""
    """Part of the sentence that says why there are no logit effects; empty where there are."""

    def __str__(self) -> str:
        return self.title


def _gated(title: str, model_type: str, config: dict[str, Any] = GROUPED, **fields: Any) -> Family:
    factor = "w3" if fields.get("inward") == "w1" else "up_proj"
    return Family(title, model_type, config, factor=factor, **fields)


def _fused(title: str, model_type: str, **fields: Any) -> Family:
    return Family(title, model_type, PADDED, inward="gate_up_proj", factor="halves", **fields)


def _plain(
    title: str, model_type: str, config: dict[str, Any], maps: str, norm: str, act_fn: str, **fields: Any
) -> Family:
    inward, outward = maps.split()
    names = {"inward": inward, "outward": outward, "norm": norm, "act_fn": act_fn}
    return Family(title, model_type, config, **({"centres": True} | names | fields))


_BIG = "dense_h_to_4h dense_4h_to_h"
FAMILIES = [
    _plain("GPT-2", "gpt2", GPT2, "c_fc c_proj", "ln_f", "gelu_new"),
    _plain(
        "GPT-Neo",
        "gpt_neo",
        {"hidden_size": D, "num_layers": 2, "num_heads": 2, "vocab_size": V, "intermediate_size": M}
        | {"attention_types": [[["global", "local"], 1]], "max_position_embeddings": N_CTX},
        "c_fc c_proj",
        "ln_f",
        "gelu_new",
    ),
    _plain("GPT-NeoX, Pythia", "gpt_neox", PLAIN, _BIG, "final_layer_norm", "gelu"),
    _plain("GPT-J", "gptj", GPT2 | {"rotary_dim": 4}, "fc_in fc_out", "ln_f", "gelu_new"),
    _plain("GPTBigCode", "gpt_bigcode", GPT2, "c_fc c_proj", "ln_f", "gelu_pytorch_tanh"),
    _gated("Llama", "llama"),
    _gated("Mistral", "mistral"),
    _gated("Ministral", "ministral"),
    _gated("Qwen2", "qwen2"),
    _gated("Qwen3", "qwen3"),
    _gated("Gemma 1", "gemma", act_fn="gelu_pytorch_tanh"),
    _gated("Gemma 2", "gemma2", GEMMA, act_fn="gelu_pytorch_tanh", refusal=AFTER_MLP),
    _gated("Gemma 3", "gemma3_text", GEMMA, act_fn="gelu_pytorch_tanh", refusal=AFTER_MLP),
    _gated("VaultGemma", "vaultgemma", GEMMA, act_fn="gelu_pytorch_tanh", refusal=CAPPED),
    _plain("Phi", "phi", PLAIN, "fc1 fc2", "final_layernorm", "gelu_new"),
    _fused("Phi-3", "phi3"),
    _gated("OLMo 1", "olmo", centres=True),
    _gated("OLMo 2", "olmo2", refusal=AFTER_MLP),
    _gated("OLMo 3", "olmo3", refusal=AFTER_MLP),
    _gated("Cohere", "cohere", centres=True),
    _gated("Cohere 2", "cohere2", centres=True),
    _plain(
        "BLOOM",
        "bloom",
        {"hidden_size": D, "n_layer": N_LAYERS, "n_head": 2, "vocab_size": V},
        _BIG,
        "ln_f",
        "gelu_new",
        d_mlp=4 * D,
    ),
    _plain(
        "OPT",
        "opt",
        FAIRSEQ | {"hidden_size": D, "ffn_dim": M, "word_embed_proj_dim": D},
        "fc1 fc2",
        "decoder.final_layer_norm",
        "relu",
        mlp="",
    ),
    _plain(
        "XGLM",
        "xglm",
        {"d_model": D, "num_layers": N_LAYERS, "attention_heads": 2, "vocab_size": V, "ffn_dim": M}
        | {"max_position_embeddings": N_CTX},
        "fc1 fc2",
        "layer_norm",
        "gelu",
        mlp="",
    ),
    _plain(
        "MPT",
        "mpt",
        {"d_model": D, "n_layers": N_LAYERS, "n_heads": 2, "vocab_size": V, "max_seq_len": N_CTX},
        "up_proj down_proj",
        "norm_f",
        "gelu",
        mlp="ffn",
        d_mlp=4 * D,
    ),
    _plain("Starcoder2", "starcoder2", GROUPED, "c_fc c_proj", "norm", "gelu_pytorch_tanh"),
    _gated("StableLM", "stablelm", centres=True),
    _plain("Persimmon", "persimmon", PLAIN, _BIG, "final_layernorm", "relu2"),
    _plain("Falcon", "falcon", PLAIN | {"ffn_hidden_size": M}, _BIG, "ln_f", "gelu"),
    _gated("Granite", "granite", GROUPED | SCALED),
    _gated("SmolLM3", "smollm3", PADDED),
    _gated("Exaone 4", "exaone4", refusal=AFTER_MLP),
    _fused("GLM", "glm"),
    _fused("GLM-4", "glm4", refusal=AFTER_MLP),
    _plain("Nemotron", "nemotron", GROUPED, "up_proj down_proj", "norm", "relu2"),
    _plain("Arcee", "arcee", GROUPED, "up_proj down_proj", "norm", "relu2", centres=False),
    _gated("Helium", "helium"),
    _gated("Seed-OSS", "seed_oss"),
    _gated("ERNIE 4.5", "ernie4_5"),
    _gated(
        "LFM2",
        "lfm2",
        GROUPED | {"block_auto_adjust_ff_dim": False, "layer_types": ["conv", "full_attention", "conv"]},
        mlp="feed_forward",
        inward="w1",
        outward="w2",
        norm="embedding_norm",
    ),
    _plain("Apertus", "apertus", PADDED, "up_proj down_proj", "norm", "xielu", centres=False),
]


def random_model(family: Family) -> PreTrainedModel:
    """Return a small model with random weights; the weights of its norms are not 1 and their biases not 0."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(family.model_type, **family.config)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config).eval()
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return model


def tokens(B: int = 2, T: int = 7) -> Tensor:
    """Return token ids `[B, T]`."""
    return torch.randint(1, V, (B, T), generator=torch.Generator().manual_seed(2))


def mlp_maps(model: PreTrainedModel, family: Family, layer: int) -> tuple[nn.Module, nn.Module]:
    """Return the model's own maps into and out of the neurons of a layer."""
    named = dict(model.base_model.named_modules())
    lists = [m for m in named.values() if isinstance(m, nn.ModuleList) and len(m) == n_layers(model)]
    block = lists[0][layer]
    mlp = getattr(block, family.mlp) if family.mlp else block
    return getattr(mlp, family.inward), getattr(mlp, family.outward)


def n_layers(model: PreTrainedModel) -> int:
    """Return the number of blocks."""
    return int(model.config.num_hidden_layers)


@torch.no_grad()
def effect_through_the_model(model: PreTrainedModel, family: Family, neuron: int) -> tuple[Tensor, Tensor]:
    """Ablate a neuron of the last layer and take the final norm's divisor out of the change of the logits.

    Returns:
        The change of the logits times the divisor, `[B, T, V]`, without its mean over V and without what the
        change of the divisor does to the logits; and the neuron's activation, `[B, T]`.
    """
    _, outward = mlp_maps(model, family, n_layers(model) - 1)
    norm = dict(model.base_model.named_modules())[family.norm]
    names = (name for name in ("eps", "variance_epsilon") if hasattr(norm, name))
    eps = getattr(norm, next(names, ""), 1e-5)  # OLMo's norm has neither weight nor eps
    activation: list[Tensor] = []

    def run(*, ablated: bool) -> Tensor:
        def ablate(_module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            acts = inputs[0].clone()
            activation.append(acts[..., neuron].reshape(tokens().shape).clone())
            if ablated:
                acts[..., neuron] = 0
            return (acts, *inputs[1:])

        def hold(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            """Multiply the norm's output by its divisor: it is then linear in the residual stream."""
            x = inputs[0] - inputs[0].mean(-1, keepdim=True) if family.centres else inputs[0]
            sigma = (x.square().mean(-1, keepdim=True) + eps).sqrt()
            bias = getattr(norm, "bias", None)
            return output * sigma if bias is None else (output - bias) * sigma + bias

        handles = [outward.register_forward_pre_hook(ablate), norm.register_forward_hook(hold)]
        try:
            return model(tokens(), use_cache=False).logits.double()
        finally:
            for handle in handles:
                handle.remove()

    change = run(ablated=False) - run(ablated=True)
    return change - change.mean(-1, keepdim=True), activation[0].double()
