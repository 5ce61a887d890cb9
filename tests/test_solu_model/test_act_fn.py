"""The five activations, blocks of neurons, final norms, and conversion of the exponential form to SoLU."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from solu_model.activation import activation, blocked_layer_norm, exp_unit, layer_norm, solu, solu_ln
from solu_model.config import SoluConfig
from solu_model.loading.exponential_models import to_solu_ln
from solu_model.model import SoluForCausalLM

SMALL = {"d_vocab": 30, "n_ctx": 12, "d_model": 16, "n_layers": 2, "n_heads": 3, "d_head": 5, "d_mlp": 24}


def random_model(**fields: object) -> SoluForCausalLM:
    torch.manual_seed(0)
    model = SoluForCausalLM(SoluConfig(**SMALL, initializer_range=0.4, **fields))
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model.eval()


def tokens() -> Tensor:
    return torch.randint(30, (2, 9), generator=torch.Generator().manual_seed(1))


@settings(max_examples=50, deadline=None)
@given(
    st.integers(1, 4),
    st.integers(2, 9),
    st.floats(0.1, 4),
    st.integers(0, 1000),
)
def test_layer_norm_of_solu_is_layer_norm_of_exp_where_eps_vanishes(
    n_blocks: int, width: int, spread: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    M = n_blocks * width
    x = torch.randn(3, M, dtype=torch.float64, generator=generator) * spread
    w, b = torch.randn(2, M, dtype=torch.float64, generator=generator)
    left = solu_ln(x, w, b, 0.0, n_blocks)
    right = blocked_layer_norm(exp_unit(x), w, b, 0.0, n_blocks)
    torch.testing.assert_close(left, right, rtol=1e-6, atol=1e-8)


def test_eps_separates_solu_ln_from_exp_ln_by_the_square_of_the_softmax_denominator() -> None:
    M, eps = 1536, 1e-5
    x = torch.randn(64, M, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    one, zero = torch.ones(M, dtype=torch.float64), torch.zeros(M, dtype=torch.float64)
    exact, with_eps = (solu_ln(x, one, zero, e) for e in (0.0, eps))
    by_exp = layer_norm(exp_unit(x), one, zero, eps)
    assert ((by_exp - exact).norm() / exact.norm()).item() < 1e-5
    Z = torch.logsumexp(x, -1, keepdim=True).exp()
    variance = exp_unit(x).var(-1, keepdim=True, correction=0)
    torch.testing.assert_close(with_eps, exact * (variance / (variance + eps * Z**2)).sqrt())
    # This is not rounding: for unit pre-activations the post-activations shrink by almost a half.
    assert ((with_eps - exact).norm() / exact.norm()).item() == pytest.approx(0.41, abs=0.03)


@pytest.mark.parametrize(("pre", "works"), [(40.0, True), (42.0, False), (85.0, False)])
def test_exp_ln_overflows_where_solu_ln_does_not(pre: float, works: bool) -> None:
    x = torch.zeros(1, 64)
    x[0, 0] = pre
    one, zero = torch.ones(64), torch.zeros(64)
    want = solu_ln(x, one, zero, 1e-5)
    assert want[0, 0] == pytest.approx(63**0.5, rel=1e-3)
    by_exp = layer_norm(exp_unit(x), one, zero, 1e-5)
    assert torch.allclose(by_exp, want, rtol=1e-3) == works


@pytest.mark.parametrize("n_mlp_blocks", [1, 3])
@pytest.mark.parametrize(
    ("dtype", "eps", "tolerance"),
    # With eps = 1e-5 the difference is eps / variance, up to a few 1e-3 in the narrow blocks of this test.
    [(torch.float64, 1e-14, 1e-9), (torch.float32, 1e-9, 2e-5), (torch.float32, None, 1e-2)],
)
def test_a_trained_exponential_model_becomes_a_solu_model(
    n_mlp_blocks: int, dtype: torch.dtype, eps: float | None, tolerance: float
) -> None:
    exponential = random_model(act_fn="exp_ln", n_mlp_blocks=n_mlp_blocks, mlp_layer_norm_eps=eps).to(dtype)
    converted = to_solu_ln(exponential)
    assert exponential.config.act_fn == "exp_ln"
    assert converted.config.act_fn == "solu_ln"
    assert converted.unembed.W_U.data_ptr() != exponential.unembed.W_U.data_ptr()
    names = [f"blocks.1.mlp.{p}" for p in ("hook_pre", "hook_mid", "hook_post")]
    want, theirs = exponential.run_with_cache(tokens(), names)
    converted_logits, ours = converted.run_with_cache(tokens(), names)
    torch.testing.assert_close(converted_logits, want, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(ours[names[2]], theirs[names[2]], rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(ours[names[1]], solu(ours[names[0]], n_mlp_blocks))
    naive = SoluForCausalLM(SoluConfig(**SMALL, act_fn="solu_ln", n_mlp_blocks=n_mlp_blocks)).eval().to(dtype)
    naive.load_state_dict(exponential.state_dict())
    difference = (naive(tokens()).logits - want).abs().max()
    assert difference > 3 * (converted_logits - want).abs().max()


def test_only_exp_ln_converts() -> None:
    with pytest.raises(ValueError, match="only an exp_ln model"):
        to_solu_ln(random_model(act_fn="gelu"))


@pytest.mark.parametrize("act_fn", ["solu_ln", "solu", "exp_ln", "gelu", "gelu_ln"])
@pytest.mark.parametrize("final_rms", [False, True])
@pytest.mark.parametrize("n_mlp_blocks", [1, 4])
def test_every_variant_computes_what_its_name_says(act_fn: str, final_rms: bool, n_mlp_blocks: int) -> None:
    model = random_model(act_fn=act_fn, final_rms=final_rms, n_mlp_blocks=n_mlp_blocks)
    has_mid = act_fn.endswith("_ln")
    assert any(n.endswith("hook_mid") for n in model.point_names()) == has_mid
    _, taken = model.run_with_cache(tokens(), model.point_names())
    pre, post = (taken[f"blocks.0.mlp.{p}"] for p in ("hook_pre", "hook_post"))
    mid = torch.cat([activation(act_fn, part) for part in pre.chunk(n_mlp_blocks, -1)], -1)
    if has_mid:
        torch.testing.assert_close(taken["blocks.0.mlp.hook_mid"], mid)
        ln = model.blocks[0].mlp.ln
        parts = [p.chunk(n_mlp_blocks, -1) for p in (mid, ln.w, ln.b)]
        normed = [layer_norm(m, w, b, 1e-5) for m, w, b in zip(*parts, strict=True)]
        torch.testing.assert_close(post, torch.cat(normed, -1), rtol=1e-4, atol=1e-5)
    else:
        torch.testing.assert_close(post, mid)
    assert hasattr(model.ln_final, "b") != final_rms
    model(input_ids=tokens(), labels=tokens()).loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_the_mlp_norm_may_have_an_eps_of_its_own() -> None:
    model = random_model(mlp_layer_norm_eps=1e-9)
    assert {block.mlp.ln.eps for block in model.blocks} == {1e-9}
    assert {block.ln1.eps for block in model.blocks} == {1e-5}
