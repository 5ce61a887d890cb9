"""A pass without gradients calls the kernels past PyTorch's dispatcher, if nothing would miss the call."""

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from solu_model.activation import backend_name, op, solu_ln

M = 24


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x, w, b = (torch.randn(*shape, generator=generator) for shape in ((2, 3, M), (M,), (M,)))
    return x, w, b


@pytest.fixture(autouse=True)
def _fast() -> None:
    if backend_name() == "reference":
        pytest.skip("no fast backend here")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Calls of the registered operation."""
    made: list[int] = []
    operation = op.activation_op
    monkeypatch.setattr(op, "activation_op", lambda *args: made.append(1) or operation(*args))
    return made


def test_both_ways_give_the_same_bits(calls: list[int]) -> None:
    x, w, b = inputs()
    through = solu_ln(x, w, b, 1e-5)
    assert calls == [1]
    with torch.no_grad():
        assert torch.equal(solu_ln(x, w, b, 1e-5), through)
        for result, expected in zip(
            solu_ln(x, w, b, 1e-5, return_mid=True), (through, x * x.softmax(-1)), strict=True
        ):
            torch.testing.assert_close(result, expected)
    assert calls == [1]


@torch.no_grad()
def test_modes_and_transforms_see_the_operation(calls: list[int]) -> None:
    x, w, b = inputs()
    seen = []

    class Mode(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            seen.append(str(function))
            return function(*args, **(kwargs or {}))

    with Mode():
        solu_ln(x, w, b, 1e-5)
    assert "solu.activation.default" in seen
    with FakeTensorMode() as mode:
        assert isinstance(solu_ln(mode.from_tensor(x), *map(mode.from_tensor, (w, b)), 1e-5), FakeTensor)
    assert calls == [1, 1]
