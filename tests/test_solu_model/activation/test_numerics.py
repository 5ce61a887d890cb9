"""The CPU kernels against the definition in float64."""

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

import solu_model
from solu_model.activation import reference
from solu_model.activation.cpu import threads as cpu_threads
from tests.test_solu_model.activation.cases import (
    ARITHMETIC,
    EPS,
    INPUTS,
    ROUNDING,
    SPACING,
    WIDTHS,
    compare,
)

FUNCTIONS = {"solu_ln": solu_model.solu_ln, "exp_ln": solu_model.exp_ln}


def fast(form: str, n_blocks: int = 1):
    return lambda x, w, b: FUNCTIONS[form](x, w, b, EPS, n_blocks, return_mid=True, backend="numba")


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("kind", INPUTS)
def test_solu_ln(kind: str, width: int) -> None:
    torch.manual_seed(width)
    x = INPUTS[kind](width)
    for dtype in ROUNDING:
        if dtype == torch.float16 and kind.startswith("one huge"):
            continue  # too large for float16
        shares = compare(fast("solu_ln"), "solu_ln", 1, x, dtype)
        assert max(shares.values()) <= 1, (dtype, shares)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(
    "kind", ["scale 0.001", "scale 1", "scale 10", "one hugely negative value", "all equal"]
)
def test_exp_ln(kind: str, width: int) -> None:
    torch.manual_seed(width)
    x = INPUTS[kind](width).clamp(max=30)  # above 40 the variance overflows, here and in the definition
    for dtype in (torch.float32, torch.bfloat16):
        shares = compare(fast("exp_ln"), "exp_ln", 1, x, dtype)
        assert max(shares.values()) <= 1, (dtype, shares)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("form", FUNCTIONS)
def test_equal_inputs_give_the_bias(form: str, width: int) -> None:
    torch.manual_seed(width)
    weight, bias = torch.randn(2, width)
    for dtype, rounding in ROUNDING.items():
        x = torch.cat([INPUTS["all equal"](width), torch.randn(50, 1).repeat(1, width)]).to(dtype)
        leaf = weight.clone().requires_grad_()
        out, _ = fast(form)(x, leaf, bias)
        error = (out.detach().double() - bias.double()).abs()
        assert (error <= (rounding + ARITHMETIC) * bias.abs() + SPACING[dtype]).all(), dtype
        out.backward(torch.randn_like(x))
        assert not leaf.grad.any(), dtype


@pytest.mark.parametrize("n_blocks", [2, 4, 64])
@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
def test_blocks(n_blocks: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    shares = compare(fast("solu_ln", n_blocks), "solu_ln", n_blocks, torch.randn(6, 1024), dtype)
    assert max(shares.values()) <= 1, shares


def test_three_dimensions_and_strides() -> None:
    x = torch.randn(40, 3, 2, 64)
    w, b = torch.randn(2, 64)
    for view in (x, x.transpose(0, 2), x[::2, 1], x.flip(0), x[..., ::2].repeat(1, 1, 1, 2), x[0, 0, 0]):
        leaf = view.detach().requires_grad_()
        out = solu_model.solu_ln(leaf, w, b, 1e-5, backend="numba")
        (out * out).sum().backward()
        exact = view.double().detach().requires_grad_()
        y = reference.solu_ln(exact, w.double(), b.double(), 1e-5)
        (y * y).sum().backward()
        torch.testing.assert_close(out.double(), y, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(leaf.grad.double(), exact.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("openmp", [True, False])
def test_rows_shared_among_threads(threads: int, openmp: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not openmp:
        monkeypatch.setattr(cpu_threads, "_openmp", lambda: None)
    elif cpu_threads._openmp() is None:
        pytest.skip("torch came without GNU OpenMP")
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        torch.manual_seed(0)
        for form in FUNCTIONS:
            shares = compare(fast(form, 2), form, 2, torch.randn(333, 256), torch.float32)
            assert max(shares.values()) <= 1, shares
    finally:
        torch.set_num_threads(before)


def test_gradients_don_t_depend_on_the_number_of_threads() -> None:
    x, g = torch.randn(2, 500, 128)
    grads = []
    before = torch.get_num_threads()
    for threads in (1, 3):
        torch.set_num_threads(threads)
        weight = torch.ones(128, requires_grad=True)
        solu_model.solu_ln(x, weight, torch.zeros(128), 1e-5, backend="numba").backward(g)
        grads.append(weight.grad)
    torch.set_num_threads(before)
    assert torch.equal(*grads)


@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
def test_nan_and_infinity_are_where_the_definition_has_them(dtype: torch.dtype) -> None:
    inf, nan = float("inf"), float("nan")
    rows = torch.randn(8, 33)
    rows[0, 5] = nan
    rows[1, 5] = -torch.tensor(nan)  # its sign bit sorts it below everything
    rows[2, 7] = inf
    rows[3] = -inf
    rows[4] = -inf
    rows[4, 9] = 2.0
    rows[5, 3] = -inf
    x = rows.to(dtype)
    w, b = torch.randn(2, 33)
    pairs = [
        (solu_model.solu(x, backend="numba"), reference.solu(x)),
        (solu_model.exp_unit(x, backend="numba"), reference.exp_unit(x)),
        (solu_model.solu_ln(x, w, b, 1e-5, backend="numba"), reference.solu_ln(x, w, b, 1e-5)),
    ]
    for fast_result, definition in pairs:
        tolerance = 10 * (ROUNDING[dtype] + ARITHMETIC)
        torch.testing.assert_close(fast_result, definition, equal_nan=True, rtol=tolerance, atol=tolerance)
    assert pairs[0][0][4, 9] == 2.0
    assert pairs[0][0][0].isnan().all()
    assert pairs[0][0][6:].isfinite().all()


def test_gradients_have_no_nan_of_their_own() -> None:
    x = torch.randn(3, 33)
    x[1, 4] = -float("inf")
    grads = []
    for backend in ("numba", "reference"):
        leaf = x.clone().requires_grad_()
        solu_model.solu_ln(leaf, torch.ones(33), torch.zeros(33), 1e-5, backend=backend).sum().backward()
        grads.append(leaf.grad.isnan())
    assert not (grads[0] & ~grads[1]).any()
    assert not grads[0][[0, 2]].any()


def test_the_exponential_over_its_whole_range() -> None:
    z = torch.cat([torch.linspace(-110, 90, 400_001), torch.tensor([0.0, -0.0, 88.7228, -87.0, 88.73])])
    exponential = solu_model.exp_unit(z, backend="numba").double()
    exact = z.double() * z.double().exp()
    normal = (z > -86.9) & (z < 84.0) & (z != 0)
    assert ((exponential - exact)[normal] / exact[normal]).abs().max() < 4e-7
    assert exponential[z < -87].abs().max() < 1e-34
    assert exponential[z > 88.7229].isinf().all()


def test_bfloat16_rounds_to_even() -> None:
    x = torch.linspace(1, 3, 5001).bfloat16()[:, None]  # one neuron: SoLU is the identity
    assert torch.equal(solu_model.solu(x, backend="numba"), x)
    w = torch.full((1,), 0.0)
    b = torch.linspace(1, 2, 4001)
    for value in b:
        out = solu_model.solu_ln(x[:1], w, value[None], 1e-5, backend="numba")
        assert out.item() == value.bfloat16().item()


@settings(max_examples=60, deadline=None)
@given(
    n_rows=st.integers(1, 70),
    width=st.integers(1, 40),
    n_blocks=st.integers(1, 4),
    exponent=st.floats(-3, 3),
    seed=st.integers(0, 2**31),
)
@example(n_rows=3, width=2, n_blocks=1, exponent=0.0, seed=0)  # mid of one row is nearly the same twice
@example(n_rows=3, width=2, n_blocks=1, exponent=0.0, seed=2565)  # still nearer
def test_any_shape(n_rows: int, width: int, n_blocks: int, exponent: float, seed: int) -> None:
    torch.manual_seed(seed)
    x = 10**exponent * torch.randn(n_rows, n_blocks * width)
    shares = compare(fast("solu_ln", n_blocks), "solu_ln", n_blocks, x, torch.float32)
    assert max(shares.values()) <= 1, shares


def test_the_gradient_overflows_no_more_often_than_the_definition() -> None:
    """x times a gradient may overflow float32, and infinity times 0 is NaN."""
    torch.manual_seed(6)  # x times the gradient exceeds float32 49 times over; with one of 60 seeds it fits
    x = torch.randn(4, 65)
    x[1, 3], x[2, 3] = -3e38, -torch.inf
    grads = []
    for backend in ("numba", "reference"):
        leaf = x.clone().requires_grad_()
        out = solu_model.solu_ln(leaf, torch.ones(65), torch.zeros(65), EPS, backend=backend)
        assert out[[0, 1, 3]].isfinite().all()
        (100 * out.square()).sum().backward()
        grads.append(leaf.grad)
    assert grads[1][1].isnan().any()
    assert grads[0][[0, 1, 3]].isfinite().all()
    assert grads[0][2].isnan().all()
    assert grads[1][2].isnan().all()
