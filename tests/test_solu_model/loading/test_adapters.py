"""Small random models of other architectures, compared with the outputs of their own modules."""

import threading
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    BertConfig,
    BertLMHeadModel,
    GemmaConfig,
    GemmaForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PhiConfig,
    PhiForCausalLM,
    PreTrainedModel,
)

from solu_model import SoluConfig, SoluForCausalLM, direct_logit_effects
from solu_model.loading.adapters import AdaptedModel, adapt
from solu_model.protocols import NeuronModel

SHAPE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 40}
LLAMA = SHAPE | {
    "intermediate_size": 24,
    "num_key_value_heads": 1,
    "max_position_embeddings": 12,
    "head_dim": 8,
}


def random_model(kind: str) -> PreTrainedModel:
    torch.manual_seed(0)
    match kind:
        case "gpt2":
            model: Any = GPT2LMHeadModel(
                GPT2Config(n_embd=16, n_layer=2, n_head=2, vocab_size=40, n_positions=12)
            )
        case "gpt_neox":
            config = GPTNeoXConfig(**SHAPE, intermediate_size=64, max_position_embeddings=12)
            model = GPTNeoXForCausalLM(config)
        case "llama":
            model = LlamaForCausalLM(LlamaConfig(**LLAMA))
        case "mistral":
            model = MistralForCausalLM(MistralConfig(**LLAMA))
        case "gemma":
            model = GemmaForCausalLM(GemmaConfig(**LLAMA, pad_token_id=0))
        case _:
            config = PhiConfig(**SHAPE, intermediate_size=64, max_position_embeddings=12)
            model = PhiForCausalLM(config)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model.eval()


KINDS = ["gpt2", "gpt_neox", "llama", "mistral", "gemma", "phi"]
GATED = {"llama", "mistral", "gemma"}


def tokens(B: int = 3) -> Tensor:
    return torch.randint(40, (B, 9), generator=torch.Generator().manual_seed(2))


@pytest.fixture(scope="module", params=KINDS)
def adapted(request: pytest.FixtureRequest) -> AdaptedModel:
    return adapt(random_model(request.param))


def mlps(model: AdaptedModel) -> list[Any]:
    return [m for n, m in model.model.named_modules() if n.endswith(".mlp")]


def no_hooks(model: AdaptedModel) -> bool:
    return not any(m._forward_hooks or m._forward_pre_hooks for m in model.model.modules())


def test_points_logits_and_what_w_out_multiplies(adapted: AdaptedModel) -> None:
    names = adapted.point_names()
    assert names == [f"blocks.{i}.mlp.{p}" for i in (0, 1) for p in ("hook_pre", "hook_post")]
    logits, taken = adapted.run_with_cache(tokens(), names)
    torch.testing.assert_close(logits, adapted.model(tokens()).logits)
    gated = adapted.config.model_type in GATED
    d_mlp = 24 if gated else 64
    assert adapted.config.d_mlp == d_mlp
    assert (adapted.config.n_layers, adapted.config.d_model, adapted.config.n_ctx) == (2, 16, 12)
    assert adapted.config.d_vocab == 40
    assert not adapted.config.has_mlp_norm
    inputs: list[Tensor] = []
    outputs: list[Tensor] = []
    handles = []
    for mlp in mlps(adapted):
        handles.append(mlp.register_forward_pre_hook(lambda _m, args: inputs.append(args[0])))
        handles.append(mlp.register_forward_hook(lambda _m, _i, out: outputs.append(out)))
    with torch.no_grad():
        adapted.model(tokens())
    for handle in handles:
        handle.remove()
    for layer, mlp in enumerate(mlps(adapted)):
        pre, post = (taken[f"blocks.{layer}.mlp.{p}"] for p in ("hook_pre", "hook_post"))
        assert pre.shape == post.shape == (3, 9, d_mlp)
        act = mlp.act_fn if hasattr(mlp, "act_fn") else getattr(mlp, "activation_fn", None) or mlp.act
        want = act(pre) * mlp.up_proj(inputs[layer]) if gated else act(pre)
        torch.testing.assert_close(post, want)
        bias = next((b for n, b in mlp.named_parameters() if n.endswith("bias") and b.shape == (16,)), 0)
        W_out = adapted.output_path(layer).W_out
        assert W_out.shape == (d_mlp, 16)
        torch.testing.assert_close(post @ W_out + bias, outputs[layer])


def test_activations_stop_early_and_leave_nothing_behind(adapted: AdaptedModel) -> None:
    names = ["blocks.0.mlp.hook_post", "blocks.1.mlp.hook_pre"]
    _, want = adapted.run_with_cache(tokens(), names)
    taken = adapted.activations(tokens(), names)
    assert list(taken) == names
    for name in names:
        assert torch.equal(taken[name], want[name])
        assert not taken[name].requires_grad
    assert no_hooks(adapted)
    visited = {}
    assert adapted.activations(tokens(), names, visit=visited.__setitem__) == {}
    assert list(visited) == names
    for name in names:
        assert torch.equal(visited[name], want[name])
    assert no_hooks(adapted)
    assert adapted.activations(tokens(), []) == {}
    with pytest.raises(ValueError, match=r"no activation is called blocks.0.mlp.hook_mid"):
        adapted.activations(tokens(), ["blocks.0.mlp.hook_mid"])
    with pytest.raises(ValueError, match="at most n_ctx = 12 tokens, got 13"):
        adapted.run_with_cache(torch.zeros(1, 13, dtype=torch.long), [])
    with pytest.raises(IndexError):
        adapted.activations(torch.tensor([[1, 99999]]), names)
    assert no_hooks(adapted)


def test_padding_on_the_right_changes_nothing_before_it(adapted: AdaptedModel) -> None:
    mask = torch.ones(3, 9, dtype=torch.long)
    mask[1, 5:] = 0
    name = "blocks.1.mlp.hook_post"
    padded = adapted.activations(tokens(), [name], attention_mask=mask)[name]
    alone = adapted.activations(tokens()[1:2, :5], [name])[name]
    torch.testing.assert_close(padded[1:2, :5], alone, rtol=1e-4, atol=1e-5)


def test_threads_may_share_a_model(adapted: AdaptedModel) -> None:
    name = "blocks.1.mlp.hook_post"
    rows = [tokens()[i : i + 1] for i in range(3)]
    want = [adapted.activations(row, [name])[name] for row in rows]
    failures: list[int] = []

    def work(i: int) -> None:
        for _ in range(8):
            _, taken = adapted.run_with_cache(rows[i], [name])
            if not torch.allclose(taken[name], want[i], atol=1e-6):
                failures.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert no_hooks(adapted)


def test_direct_effects_are_the_change_of_logits_at_a_held_scale(adapted: AdaptedModel) -> None:
    effect = direct_logit_effects(adapted, 1, 4)[0]
    assert effect.shape == (40,)
    norm = adapted._norm
    residuals: list[Tensor] = []
    handle = norm.register_forward_pre_hook(lambda _m, args: residuals.append(args[0]))
    with torch.no_grad():
        adapted.model(tokens())
        handle.remove()
        x, path, r = residuals[0][0, 3], adapted.output_path(1), adapted.output_path(1).W_out[4]
        bias = getattr(norm, "bias", None)

        def before_division(y: Tensor) -> Tensor:
            square = (y - y.mean() if path.centres else y).square().mean()
            eps = getattr(norm, "eps", None) or norm.variance_epsilon
            return (norm(y) - (0 if bias is None else bias)) * (square + eps).sqrt()

        change = (before_division(x + r) - before_division(x)) @ path.W_U
    torch.testing.assert_close(change - change.mean(), effect, rtol=1e-4, atol=1e-5)


def test_our_models_and_adapted_ones_are_neuron_models(adapted: AdaptedModel) -> None:
    config = SoluConfig(d_vocab=9, n_ctx=4, d_model=4, n_heads=1, d_head=4, d_mlp=8)
    models: list[NeuronModel] = [adapted, SoluForCausalLM(config)]
    for model in models:
        assert isinstance(model, NeuronModel)
        assert model.output_path(0).W_U.shape == (model.config.d_model, model.config.d_vocab)


def test_models_without_such_mlps_are_refused() -> None:
    config = BertConfig(**SHAPE, intermediate_size=24, is_decoder=True)
    with pytest.raises(
        ValueError, match=r"BertLMHeadModel has no MLP in each of its 2 blocks.*c_fc and c_proj"
    ):
        adapt(BertLMHeadModel(config))
