"""Direct logit effects against their formula, against TransformerLens's folding, and against ablation."""

import numpy as np
import pytest
import torch
from torch import Tensor

from solu_model import SoluConfig, SoluForCausalLM, ablation_effects, direct_logit_effects
from solu_model.logit_effects import direct_effects_on_token, final_scale

SMALL = {"d_vocab": 30, "n_ctx": 12, "d_model": 16, "n_heads": 3, "d_head": 5, "d_mlp": 24}


def random_model(n_layers: int = 1, **fields: object) -> SoluForCausalLM:
    torch.manual_seed(0)
    model = SoluForCausalLM(SoluConfig(**SMALL, n_layers=n_layers, initializer_range=0.3, **fields))
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return model.double().eval()


def tokens() -> Tensor:
    return torch.randint(30, (2, 7), generator=torch.Generator().manual_seed(1))


def centred(x: Tensor) -> Tensor:
    return x - x.mean(-1, keepdim=True)


@pytest.mark.parametrize("final_rms", [False, True])
@pytest.mark.parametrize("act_fn", ["solu_ln", "gelu"])
def test_the_formula(act_fn: str, final_rms: bool) -> None:
    model = random_model(2, act_fn=act_fn, final_rms=final_rms)
    effects = direct_logit_effects(model, 1, [3, 20])
    assert effects.shape == (2, 30)
    torch.testing.assert_close(effects.mean(-1), torch.zeros(2, dtype=torch.float64))
    W_out = model.blocks[1].mlp.W_out[20]
    read = W_out if final_rms else centred(W_out)
    want = centred(sum(read[d] * model.ln_final.w[d] * model.unembed.W_U[d] for d in range(16)))
    torch.testing.assert_close(effects[1], want)
    folded = direct_logit_effects(model, 1, 20, fold=True)
    weight = model.blocks[1].mlp.ln.w[20] if act_fn == "solu_ln" else 1.0
    torch.testing.assert_close(folded[0], want * weight)
    torch.testing.assert_close(direct_logit_effects(model, 1, torch.tensor([20])), effects[1:])


@pytest.mark.parametrize("fold", [False, True])
@pytest.mark.parametrize("final_rms", [False, True])
@pytest.mark.parametrize("act_fn", ["solu_ln", "gelu"])
def test_the_effects_on_a_token_are_a_column_of_all_effects(act_fn: str, final_rms: bool, fold: bool) -> None:
    model = random_model(2, act_fn=act_fn, final_rms=final_rms)
    for layer in (0, 1):
        everything = direct_logit_effects(model, layer, range(24), fold=fold)
        for token in (0, 29):
            effect = direct_effects_on_token(model, layer, token, fold=fold)
            torch.testing.assert_close(effect, everything[:, token])
    for token in (-1, 30):
        with pytest.raises(IndexError, match="token must be 0 to 29"):
            direct_effects_on_token(model, 0, token)


@pytest.mark.parametrize("final_rms", [False, True])
@pytest.mark.parametrize("act_fn", ["solu_ln", "solu", "gelu"])
@pytest.mark.parametrize("layer", [0, 1])
def test_ablation_in_the_last_layer_is_the_direct_effect_at_a_held_scale(
    act_fn: str, final_rms: bool, layer: int
) -> None:
    model = random_model(2, act_fn=act_fn, final_rms=final_rms)
    names = [f"blocks.{layer}.mlp.hook_post", "blocks.1.hook_resid_post"]
    _, taken = model.run_with_cache(tokens(), names)
    effects = ablation_effects(model, tokens(), layer, 5, replacement=0.3, hold_final_scale=True)
    change = taken[names[0]][..., 5, None] - 0.3
    direct = direct_logit_effects(model, layer, 5) * change / final_scale(model, taken[names[1]])
    difference = (centred(effects) - direct).abs().max().item()
    if layer == 1:
        assert difference < 1e-12
    else:  # layer 0 also acts through layer 1
        assert difference > 1e-3


def test_ablation_equals_the_change_of_a_model_with_changed_weights() -> None:
    model = random_model(2)
    logits, taken = model.run_with_cache(tokens(), ["blocks.0.mlp.hook_post"])
    b_out, W_out = model.blocks[0].mlp.b_out.clone(), model.blocks[0].mlp.W_out
    for replacement in (0.0, "mean"):
        value = taken["blocks.0.mlp.hook_post"][..., 7].mean() if replacement == "mean" else 0.0
        effects = ablation_effects(model, tokens(), 0, 7, replacement=replacement)
        with torch.no_grad():
            row = W_out[7].clone()
            model.blocks[0].mlp.b_out += value * row
            W_out[7] = 0
            without = model(tokens()).logits
            W_out[7] = row
            model.blocks[0].mlp.b_out.copy_(b_out)
        torch.testing.assert_close(effects, logits - without)


def test_ablation_before_the_layer_norm_changes_every_neuron() -> None:
    model = random_model()
    mid, post = (f"blocks.0.mlp.{p}" for p in ("hook_mid", "hook_post"))
    logits, taken = model.run_with_cache(tokens(), [mid, post, "blocks.0.hook_resid_mid"])
    taken[mid][..., 2] = 0
    mlp = model.blocks[0].mlp
    with torch.no_grad():
        x = taken["blocks.0.hook_resid_mid"] + mlp.ln(taken[mid]) @ mlp.W_out + mlp.b_out
        want = logits - model.unembed(model.ln_final(x))
    effects = ablation_effects(model, tokens(), 0, 2, hook="hook_mid")
    torch.testing.assert_close(effects, want)
    assert not torch.allclose(effects, ablation_effects(model, tokens(), 0, 2))
    with pytest.raises(ValueError, match="no activation is called"):
        ablation_effects(random_model(act_fn="gelu"), tokens(), 0, 2, hook="hook_mid")


@pytest.mark.parametrize(("layer", "neuron"), [(2, 0), (-1, 0), (0, 24), (0, -1)])
def test_layers_and_neurons_outside_the_model_are_refused(layer: int, neuron: int) -> None:
    with pytest.raises(IndexError, match=r"must be 0 to"):
        direct_logit_effects(random_model(2), layer, neuron)
    with pytest.raises(IndexError, match=r"must be 0 to"):
        ablation_effects(random_model(2), tokens(), layer, neuron)


ONE = (3, np.int64(3), np.array(3), torch.tensor(3), np.uint8(3))
SEVERAL = ([3, 20], (3, 20), np.array([3, 20]), torch.tensor([3, 20]), [np.int32(3), torch.tensor(20)])


def test_every_kind_of_integer_is_an_index() -> None:
    model = random_model(2)
    expected = direct_logit_effects(model, 1, [3, 20])
    for layer in (1, np.int64(1), torch.tensor(1)):
        for neuron in ONE:
            assert torch.equal(direct_logit_effects(model, layer, neuron), expected[:1])
        for neurons in SEVERAL:
            assert torch.equal(direct_logit_effects(model, layer, neurons), expected)
        assert torch.equal(model.output_path(layer).W_out, model.blocks[1].mlp.W_out)
        assert torch.equal(model.input_weights(layer), model.blocks[1].mlp.W_in)
    want = ablation_effects(model, tokens(), 1, 3)
    on_token = direct_effects_on_token(model, 1, 3)
    for index in ONE:
        assert torch.equal(ablation_effects(model, tokens(), np.int64(1), index), want)
        assert torch.equal(direct_effects_on_token(model, np.int64(1), index), on_token)


def test_no_neurons_have_no_effects() -> None:
    for neurons in ([], (), np.array([]), torch.tensor([]), torch.empty(0, dtype=torch.long)):
        assert direct_logit_effects(random_model(), 0, neurons).shape == (0, 30)


@pytest.mark.parametrize(
    "neurons", [True, [True] * 24, np.ones(24, bool), torch.ones(24).bool(), 1.0, "3", None]
)
def test_other_indices_are_refused(neurons: object) -> None:
    with pytest.raises(TypeError, match="neuron must be an integer, 0 to 23, got"):
        direct_logit_effects(random_model(), 0, neurons)
    with pytest.raises(IndexError, match="layer must be 0 to 0, got -1"):
        random_model().output_path(-1)


def test_ablations_of_another_kind_are_refused() -> None:
    model, tokens = random_model(), torch.tensor([[0, 1]])
    with pytest.raises(ValueError, match="hook must be 'hook_post' or 'hook_mid', got 'hook_pre'"):
        ablation_effects(model, tokens, 0, 1, hook="hook_pre")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="replacement must be a number or 'mean', got 'median'"):
        ablation_effects(model, tokens, 0, 1, replacement="median")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="expected a SoluForCausalLM"):
        ablation_effects(torch.nn.Identity(), tokens, 0, 1)  # type: ignore[arg-type]
