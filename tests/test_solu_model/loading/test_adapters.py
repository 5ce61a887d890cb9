"""Small random models of other architectures, compared with the outputs of their own modules."""

import threading
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    BertConfig,
    BertLMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    PreTrainedModel,
)
from transformers.activations import ACT2FN

from solu_model import SoluConfig, SoluForCausalLM, direct_effects_on_token, direct_logit_effects
from solu_model.loading.adapters import AdaptedModel, adapt
from solu_model.loading.measured_output import measure_output
from solu_model.protocols import NeuronModel
from tests.test_solu_model.loading.families import (
    FAMILIES,
    GROUPED,
    N_CTX,
    PLAIN,
    D,
    Family,
    V,
    effect_through_the_model,
    mlp_maps,
    n_layers,
    random_model,
)

BY_TITLE = {family.title: family for family in FAMILIES}
SOME = ["GPT-2", "GPT-NeoX, Pythia", "Llama", "Phi-3", "OPT"]


def tokens(B: int = 3) -> Tensor:
    return torch.randint(1, V, (B, 9), generator=torch.Generator().manual_seed(2))


@pytest.fixture(scope="module", params=FAMILIES, ids=str)
def pair(request: pytest.FixtureRequest) -> tuple[AdaptedModel, Family]:
    """Return an adapted model of each family."""
    return adapt(random_model(request.param)), request.param


@pytest.fixture(scope="module", params=SOME)
def adapted(request: pytest.FixtureRequest) -> AdaptedModel:
    """Return an adapted model of a few families, with every kind of MLP."""
    return adapt(random_model(BY_TITLE[request.param]))


def no_hooks(model: AdaptedModel) -> bool:
    return not any(m._forward_hooks or m._forward_pre_hooks for m in model.model.modules())


def test_points_and_logits_are_those_of_the_modules(pair: tuple[AdaptedModel, Family]) -> None:
    adapted, family = pair
    layers = range(n_layers(adapted.model))
    names = adapted.point_names()
    assert names == [f"blocks.{i}.mlp.{p}" for i in layers for p in ("hook_pre", "hook_post")]
    config = adapted.config
    assert (config.d_mlp, config.d_model, config.d_vocab) == (family.d_mlp, D, V)
    assert config.n_ctx == (2048 if family.title == "BLOOM" else N_CTX)
    assert config.act_fn == family.act_fn
    assert not config.has_mlp_norm
    logits, taken = adapted.run_with_cache(tokens(), names)
    torch.testing.assert_close(logits, adapted.model(tokens(), use_cache=False).logits)
    seen: dict[str, Tensor] = {}
    handles = []
    for layer in layers:
        inward, outward = mlp_maps(adapted.model, family, layer)
        modules = {"inward": inward, "outward": outward}
        if family.factor in ("up_proj", "w3"):
            mlp: Any = next(m for m in adapted.model.modules() if getattr(m, family.inward, None) is inward)
            modules["factor"] = getattr(mlp, family.factor)
        for kind, module in modules.items():
            handles.append(module.register_forward_hook(keep(seen, f"{layer} {kind}")))
    with torch.no_grad():
        adapted.model(tokens(), use_cache=False)
    for handle in handles:
        handle.remove()
    for layer in layers:
        pre, post = (taken[f"blocks.{layer}.mlp.{p}"] for p in ("hook_pre", "hook_post"))
        assert pre.shape == post.shape == (3, 9, family.d_mlp)
        inward = seen[f"{layer} inward"].reshape(3, 9, -1)
        if family.factor == "halves":
            torch.testing.assert_close(pre, inward[..., : family.d_mlp])
            factor: Tensor | float = inward[..., family.d_mlp :]
        else:
            torch.testing.assert_close(pre, inward)
            factor = seen.get(f"{layer} factor", torch.ones(()))
        if family.act_fn != "xielu":  # which has parameters
            torch.testing.assert_close(post, ACT2FN[family.act_fn](pre) * factor, rtol=1e-4, atol=1e-4)
        bias = getattr(mlp_maps(adapted.model, family, layer)[1], "bias", None)
        W_out = adapted.output_weights(layer)
        assert W_out.shape == (family.d_mlp, D)
        assert adapted.input_weights(layer).shape == (D, family.d_mlp)
        out = seen[f"{layer} outward"].reshape(3, 9, -1)
        torch.testing.assert_close(post @ W_out + (0 if bias is None else bias), out, rtol=1e-4, atol=1e-4)


def keep(seen: dict[str, Tensor], name: str) -> Any:
    def hook(_module: Any, _inputs: Any, output: Tensor) -> None:
        seen[name] = output.clone()  # Falcon adds to it in place

    return hook


def test_direct_effects_are_those_of_an_ablation_through_the_model_or_refused(
    pair: tuple[AdaptedModel, Family],
) -> None:
    adapted, family = pair
    last = n_layers(adapted.model) - 1
    if family.refusal:
        for refused in (direct_logit_effects, direct_effects_on_token):
            with pytest.raises(TypeError, match=family.refusal):
                refused(adapted, last, 5)
        return
    change, activation = effect_through_the_model(adapted.model, family, 5)
    direct = direct_logit_effects(adapted, last, 5)[0].double()
    expected = activation[..., None] * direct
    ratio = float((change * expected).sum() / expected.square().sum())
    assert ratio == pytest.approx(1, abs=1e-3)
    assert float((change - expected).norm() / expected.norm()) < 1e-3
    assert adapted.measured.error < 1e-4
    by_token = direct_effects_on_token(adapted, last, 7)
    torch.testing.assert_close(by_token[5], direct[7].float(), rtol=1e-4, atol=1e-4)


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
    with pytest.raises(ValueError, match="at most n_ctx = 32 tokens, got 33"):
        adapted.run_with_cache(torch.zeros(1, 33, dtype=torch.long), [])
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


def test_our_models_and_adapted_ones_are_neuron_models(adapted: AdaptedModel) -> None:
    config = SoluConfig(d_vocab=9, n_ctx=4, d_model=4, n_heads=1, d_head=4, d_mlp=8)
    models: list[NeuronModel] = [adapted, SoluForCausalLM(config)]
    for model in models:
        assert isinstance(model, NeuronModel)
        assert model.output_path(0).W_U.shape == (model.config.d_model, model.config.d_vocab)


def test_models_without_such_mlps_are_refused() -> None:
    config = BertConfig(**PLAIN, is_decoder=True)
    with pytest.raises(
        ValueError, match=r"BertLMHeadModel has no MLP in each of its 3 blocks.*c_fc and c_proj"
    ):
        adapt(BertLMHeadModel(config))
    with pytest.raises(ValueError, match="MixtralForCausalLM has no MLP"):
        adapt(MixtralForCausalLM(MixtralConfig(**GROUPED, num_local_experts=2)))


def llama() -> PreTrainedModel:
    return random_model(BY_TITLE["Llama"])


class Capped(LlamaForCausalLM):
    """A Llama whose logits pass a soft cap, as in Gemma 2."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        output = super().forward(*args, **kwargs)
        output.logits = 30 * torch.tanh(output.logits / 30)
        return output


def test_a_soft_cap_is_seen_where_logits_are_far_below_it() -> None:
    model = Capped(LlamaConfig(**GROUPED)).eval()
    assert float(model(tokens()).logits.detach().abs().max()) < 1  # where a cap of 30 changes nothing
    with pytest.raises(TypeError, match="as where a soft cap bounds them"):
        adapt(model).output_path(0)


@pytest.mark.parametrize("layer", [0, 1])
def test_a_norm_after_one_mlp_is_seen_in_any_layer(layer: int) -> None:
    model: Any = llama()
    down = model.model.layers[layer].mlp.down_proj
    down.register_forward_hook(lambda _m, _i, out: torch.nn.functional.rms_norm(out, (D,)))
    adapted = adapt(model)
    with pytest.raises(TypeError, match=rf"in layer {layer} a neuron does not add a multiple"):
        direct_logit_effects(adapted, 2, 0)
    assert adapted.activations(tokens(), ["blocks.2.mlp.hook_post"])["blocks.2.mlp.hook_post"].shape[-1] == 24
    assert adapted.output_weights(layer).shape == (24, D)


@pytest.mark.parametrize("title", ["Gemma 2", "Gemma 3", "OLMo 2", "OLMo 3", "Exaone 4", "GLM-4"])
@pytest.mark.parametrize("scale", [1e-3, 0.1, 10.0])
def test_a_norm_after_the_mlp_is_seen_in_a_new_model(title: str, scale: float) -> None:
    """Norm weights of 1 and small W_out: one neuron's change is then nearly all that the norm sees."""
    family = BY_TITLE[title]
    model = new_model(family)
    for layer in range(n_layers(model)):
        mlp_maps(model, family, layer)[1].weight.data *= scale
    with pytest.raises(TypeError, match=family.refusal):
        adapt(model).output_path(0)


@pytest.mark.parametrize("family", [f for f in FAMILIES if not f.refusal], ids=str)
def test_a_new_model_is_not_refused(family: Family) -> None:
    assert adapt(new_model(family)).measured.refusal == ""


def new_model(family: Family) -> Any:
    """Return a model as transformers initializes it."""
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(family.model_type, **family.config))


def test_a_stream_that_a_block_scales_is_refused() -> None:
    model: Any = llama()
    model.model.layers[1].register_forward_hook(lambda _m, _i, out: out * 0.5)
    with pytest.raises(TypeError, match="block 1 does not pass the residual stream on unchanged"):
        adapt(model).output_path(0)


def test_a_projection_before_the_unembedding_is_refused() -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "ffn_dim": 20}
    sizes |= {"vocab_size": V, "max_position_embeddings": N_CTX, "word_embed_proj_dim": 8}
    with pytest.raises(TypeError, match="the unembedding reads 8 numbers where the residual stream has 16"):
        adapt(AutoModelForCausalLM.from_config(AutoConfig.for_model("opt", **sizes))).output_path(0)


def test_blocks_that_return_lists_are_read() -> None:
    sizes = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": N_CTX, "vocab_size": V}
    model = adapt(AutoModelForCausalLM.from_config(AutoConfig.for_model("openai-gpt", **sizes)))
    assert model.run_with_cache(tokens())[1]["post", 1].shape == (3, 9, 64)
    with pytest.raises(TypeError, match="a norm follows"):
        model.output_path(1)


def test_names_as_in_our_own_models(adapted: AdaptedModel) -> None:
    _, everything = adapted.run_with_cache(tokens())
    assert list(everything) == adapted.point_names()
    _, some = adapted.run_with_cache(tokens(), names_filter=lambda name: name.endswith("post"))
    assert torch.equal(some["post", 1], everything["blocks.1.mlp.hook_post"])
    with pytest.raises(TypeError, match="give one of them"):
        adapted.run_with_cache(tokens(), [], names_filter=[])
    assert torch.equal(adapted.output_weights(np.int64(1)), adapted.output_weights(torch.tensor(1)))
    with pytest.raises(TypeError, match="layer must be an integer, 0 to"):
        adapted.output_weights("1")  # type: ignore[arg-type]


def test_a_final_norm_of_another_kind_is_refused() -> None:
    model: Any = llama()
    model.model.norm = torch.nn.Tanh()
    with pytest.raises(TypeError, match="the final norm, Tanh, is neither LayerNorm nor RMS"):
        adapt(model).output_path(0)


def test_an_activation_is_the_one_that_is_computed_not_the_one_in_the_configuration() -> None:
    model: Any = random_model(BY_TITLE["GPT-NeoX, Pythia"])
    model.config.hidden_act = "relu"
    assert adapt(model).config.act_fn == "gelu"  # the modules were made with it


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("title", ["GPT-2", "Llama", "Granite"])
def test_half_precision_is_measured_too(title: str, dtype: torch.dtype) -> None:
    whole = adapt(random_model(BY_TITLE[title]))
    half = adapt(random_model(BY_TITLE[title]).to(dtype))
    assert half.measured.refusal == ""
    effects = direct_logit_effects(half, 2, 5)
    assert effects.dtype == dtype
    torch.testing.assert_close(effects.float(), direct_logit_effects(whole, 2, 5), rtol=0.05, atol=0.2)
    with pytest.raises(TypeError, match="a norm follows the MLP"):
        adapt(random_model(BY_TITLE["OLMo 2"]).to(dtype)).output_path(0)


def test_measuring_leaves_no_hooks_and_does_not_depend_on_the_mode(adapted: AdaptedModel) -> None:
    assert no_hooks(adapted)
    assert not adapted.model.training
    from solu_model.loading.adapters import checked_blocks

    again = measure_output(adapted.model, checked_blocks(adapted.model))
    assert again.residual_factors == adapted.measured.residual_factors
    assert no_hooks(adapted)
