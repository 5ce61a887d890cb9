"""The activations as functions: values computed by hand, gradients of the definition, errors, backends."""

import logging

import pytest
import torch
from torch import Tensor

import solu_model
from solu_model.activation import op, reference
from solu_model.activation.cpu import backend as cpu

BACKENDS = ["numba", "reference"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_papers_example(backend: str) -> None:
    x = torch.tensor([4.0, 1.0, 4.0, 1.0])
    torch.testing.assert_close(
        solu_model.solu(x, backend=backend), torch.tensor([2.0, 0, 2, 0]), atol=0.1, rtol=0
    )
    # exp(-3) = 0.049787, so p is 0.476287 and 0.023713.
    torch.testing.assert_close(
        solu_model.solu(x, backend=backend), torch.tensor([1.905148, 0.023713, 1.905148, 0.023713])
    )
    out, mid = solu_model.solu_ln(x, torch.ones(4), torch.zeros(4), 1e-5, return_mid=True, backend=backend)
    torch.testing.assert_close(out, torch.tensor([1.0, -1, 1, -1]), atol=1e-4, rtol=0)
    torch.testing.assert_close(mid, solu_model.solu(x, backend=backend))


@pytest.mark.parametrize("backend", BACKENDS)
def test_blocks_don_t_see_each_other(backend: str) -> None:
    x, weight, bias = torch.randn(5, 12), torch.randn(12), torch.randn(12)
    parts = [slice(0, 4), slice(4, 8), slice(8, 12)]
    apart = [solu_model.solu_ln(x[:, p], weight[p], bias[p], 1e-5, backend=backend) for p in parts]
    together = solu_model.solu_ln(x, weight, bias, 1e-5, 3, backend=backend)
    torch.testing.assert_close(together, torch.cat(apart, -1))


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_exponential_form_is_equal_but_for_eps(backend: str) -> None:
    x, weight, bias = torch.randn(5, 64), torch.randn(64), torch.randn(64)
    solu_ln = solu_model.solu_ln(x, weight, bias, 1e-12, backend=backend)
    torch.testing.assert_close(solu_model.exp_ln(x, weight, bias, 1e-12, backend=backend), solu_ln)
    torch.testing.assert_close(solu_model.exp_unit(x, backend=backend), x * x.exp())


@pytest.mark.parametrize("n_blocks", [1, 3])
def test_gradients_of_the_definition(n_blocks: int) -> None:
    x = torch.randn(2, 6, dtype=torch.float64, requires_grad=True)
    weight, bias = torch.randn(2, 6, dtype=torch.float64, requires_grad=True).unbind()
    assert torch.autograd.gradcheck(lambda x: reference.solu(x, n_blocks), x)
    assert torch.autograd.gradcheck(reference.exp_unit, x)
    for function in (solu_model.solu_ln, solu_model.exp_ln):  # float64 takes the definition
        assert torch.autograd.gradcheck(lambda *a, f=function: f(*a, 1e-5, n_blocks), (x, weight, bias))
        assert torch.autograd.gradgradcheck(lambda *a, f=function: f(*a, 1e-5, n_blocks), (x, weight, bias))


def test_one_of_two_results_may_be_left_unused() -> None:
    x, weight, bias = torch.randn(3, 8), torch.randn(8), torch.randn(8)
    for pick in (0, 1):
        grads = []
        for backend in BACKENDS:
            leaf = x.clone().requires_grad_()
            solu_model.solu_ln(leaf, weight, bias, 1e-5, return_mid=True, backend=backend)[
                pick
            ].sum().backward()
            grads.append(leaf.grad)
        torch.testing.assert_close(*grads)


@pytest.mark.parametrize("shape", [(0, 4), (2, 0, 4)])
def test_no_rows(shape: tuple[int, ...]) -> None:
    x = torch.empty(shape, requires_grad=True)
    weight = torch.ones(4, requires_grad=True)
    out = solu_model.solu_ln(x, weight, torch.zeros(4), 1e-5)
    out.sum().backward()
    assert out.shape == shape
    assert torch.equal(weight.grad, torch.zeros(4))


def test_errors_state_the_value_received() -> None:
    x, ones = torch.randn(2, 6), torch.ones(6)
    with pytest.raises(ValueError, match=r"n_blocks must divide .*\[2, 6\], got 4"):
        solu_model.solu(x, 4)
    with pytest.raises(ValueError, match=r"weight must have one entry for each neuron, \[6\], got \[5\]"):
        solu_model.solu_ln(x, ones[:5], ones, 1e-5)
    with pytest.raises(ValueError, match="floating dtype"):
        solu_model.solu(torch.arange(6))
    with pytest.raises(ValueError, match="must be one of numba, triton, reference, got 'fast'"):
        solu_model.solu(x, backend="fast")
    with pytest.raises(ValueError, match="numba backend takes float32"):
        solu_model.solu(x.double(), backend="numba")


def test_the_backend_follows_device_dtype_and_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(op.ENVIRONMENT_VARIABLE, raising=False)
    assert solu_model.backend_name("cpu") == "numba"
    assert solu_model.backend_name("cpu", torch.float64) == "reference"
    assert solu_model.backend_name("meta") == "reference"
    monkeypatch.setenv(op.ENVIRONMENT_VARIABLE, "reference")
    assert solu_model.backend_name("cpu") == "reference"
    assert solu_model.backend_name("cpu", backend="numba") == "numba"
    monkeypatch.setenv(op.ENVIRONMENT_VARIABLE, "numba")
    assert solu_model.backend_name("meta") == "reference"


def test_without_numba_the_definition_runs_and_one_warning_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> None:
        raise ImportError("no numba here")

    monkeypatch.delenv(op.ENVIRONMENT_VARIABLE, raising=False)
    monkeypatch.setattr(cpu, "load", broken)
    op._failure.cache_clear()
    try:
        x, weight, bias = torch.randn(3, 8), torch.randn(8), torch.randn(8)
        with caplog.at_level(logging.WARNING):
            outs = [solu_model.solu_ln(x, weight, bias, 1e-5) for _ in range(3)]
        assert torch.equal(outs[2], reference.solu_ln(x, weight, bias, 1e-5))
        assert len(caplog.records) == 1
        assert "no numba here" in caplog.text
        with pytest.raises(ValueError, match="cannot run here"):
            solu_model.solu(x, backend="numba")
    finally:
        op._failure.cache_clear()


@pytest.mark.parametrize("n_blocks", [1, 4])
def test_the_backward_pass_keeps_16_bytes_for_each_row_and_block(n_blocks: int) -> None:
    x = torch.randn(10, 64, requires_grad=True)
    weight, bias = (torch.randn(64, requires_grad=True) for _ in range(2))
    saved: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        solu_model.solu_ln(x, weight, bias, 1e-5, n_blocks, backend="numba")
    statistics = [t for t in saved if t.data_ptr() not in (x.data_ptr(), weight.data_ptr())]
    assert len(saved) == 3
    assert sum(t.untyped_storage().nbytes() for t in statistics) <= 16 * 10 * n_blocks
