"""The definitions, compared with values computed by hand and with each other."""

import pytest
import torch

from solu_model.activation import (
    activation,
    blocked_layer_norm,
    exp_unit,
    layer_norm,
    rms_norm,
    solu,
    solu_ln,
)


def test_solu_of_4_1_4_1_is_about_2_0_2_0():
    x = torch.tensor([4.0, 1.0, 4.0, 1.0])
    e3 = torch.exp(torch.tensor(3.0))
    big, small = 4 * e3 / (2 * e3 + 2), 1 / (2 * e3 + 2)
    torch.testing.assert_close(solu(x), torch.stack([big, small, big, small]))
    torch.testing.assert_close(solu(x), torch.tensor([2.0, 0.0, 2.0, 0.0]), atol=0.1, rtol=0)


def test_solu_of_equal_values_shares_them_out():
    torch.testing.assert_close(solu(torch.tensor([4.0, 4.0, 4.0, 4.0])), torch.ones(4))


def test_one_large_value_survives_and_the_rest_vanish():
    # exp(-3) = 0.0498, exp(-5) = 0.0067: the denominator is 1.1063 times exp(4).
    expected = torch.tensor([0.0450, 3.6157, 0.0450, -0.0061])
    torch.testing.assert_close(solu(torch.tensor([1.0, 4.0, 1.0, -1.0])), expected, atol=1e-4, rtol=0)


def test_layer_norm_by_hand():
    x = torch.tensor([1.0, 2.0, 3.0, 6.0])
    expected = (x - 3) / (3.5 + 1e-5) ** 0.5 * 2 + 1
    torch.testing.assert_close(layer_norm(x, torch.full((4,), 2.0), torch.ones(4), 1e-5), expected)
    torch.testing.assert_close(rms_norm(x, torch.ones(4), 0.0), x / 12.5**0.5)


def test_a_block_is_a_row_of_its_own():
    x, w, b = torch.randn(3, 12), torch.randn(12), torch.randn(12)
    halves = [solu_ln(x[:, s], w[s], b[s], 1e-5) for s in (slice(0, 6), slice(6, 12))]
    torch.testing.assert_close(solu_ln(x, w, b, 1e-5, n_blocks=2), torch.cat(halves, -1))
    torch.testing.assert_close(blocked_layer_norm(x, w, b, 1e-5, 1), layer_norm(x, w, b, 1e-5))


def test_the_exponential_form_is_solu_under_a_layer_norm_up_to_eps():
    x, one, zero = (
        torch.randn(64, 32, dtype=torch.float64),
        torch.ones(32, dtype=torch.float64),
        torch.zeros(32, dtype=torch.float64),
    )
    without_eps = layer_norm(exp_unit(x), one, zero, 0.0)
    torch.testing.assert_close(without_eps, solu_ln(x, one, zero, 0.0), rtol=1e-10, atol=1e-10)
    # eps has another effect on SoLU, which is smaller by the denominator of the softmax.
    assert (layer_norm(exp_unit(x), one, zero, 1e-3) - solu_ln(x, one, zero, 1e-3)).abs().max() > 1e-3


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_is_float32_rounded_once(dtype):
    x = torch.randn(8, 64).to(dtype)
    w, b = torch.randn(64), torch.randn(64)
    assert torch.equal(solu_ln(x, w, b, 1e-5), solu_ln(x.float(), w, b, 1e-5).to(dtype))
    assert torch.equal(solu(x), solu(x.float()).to(dtype))


def test_an_unknown_activation_is_named():
    with pytest.raises(ValueError, match="got 'relu'"):
        activation("relu", torch.zeros(2))
