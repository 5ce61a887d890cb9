"""Compilers, exporters and autocast see the activation as one operation."""

import shutil
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._inductor.utils import fresh_cache

import solu_model
from solu_model.activation import op, reference
from solu_model.config import SoluConfig
from solu_model.model import SoluForCausalLM


class Unit(nn.Module):
    """The activation between two operations that a compiler could fuse with it."""

    def __init__(self) -> None:
        super().__init__()
        self.w, self.b = nn.Parameter(torch.randn(16)), nn.Parameter(torch.randn(16))

    def forward(self, x: Tensor) -> Tensor:
        return solu_model.solu_ln(2 * x, self.w, self.b, 1e-5, 2) + 1


def our_operations(graph: torch.fx.Graph) -> list[str]:
    return [str(n.target) for n in graph.nodes if "solu" in str(n.target)]


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("return_mid", [True, False])
def test_registration(weighted: bool, return_mid: bool) -> None:
    x = torch.randn(2, 3, 8, requires_grad=True)
    parameters = [torch.randn(8, requires_grad=True) for _ in range(2)] if weighted else [None, None]
    torch.library.opcheck(op.activation_op, (x, *parameters, 1e-5, 2, True, return_mid, "numba"))


def test_dynamo_sees_one_operation() -> None:
    graphs: list[torch.fx.Graph] = []

    def keep(module: torch.fx.GraphModule, _inputs: Any) -> Any:
        graphs.append(module.graph)
        return module.forward

    unit, x = Unit(), torch.randn(3, 16)
    compiled = torch.compile(unit, backend=keep, fullgraph=True)
    torch.testing.assert_close(compiled(x), unit(x))
    assert [our_operations(g) for g in graphs] == [["solu.activation.default"]]


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # torch's own
@torch.compiler.config.patch(
    force_disable_caches=True
)  # cached code of an older version calls an older operation
@pytest.mark.filterwarnings("ignore:dynamo_pgo force disabled")  # by `fresh_cache`
def test_inductor_forward_and_backward() -> None:
    if not (shutil.which("g++") or shutil.which("clang++") or shutil.which("cl")):
        pytest.skip("torch.compile needs a C++ compiler on CPU")
    unit, x = Unit(), torch.randn(3, 16)
    grads = []
    for function in (unit, torch.compile(unit, fullgraph=True)):
        unit.zero_grad()
        leaf = x.clone().requires_grad_()
        with fresh_cache():  # torch's cache on disk may hold calls with other arguments
            function(leaf).square().sum().backward()
        grads.append([leaf.grad, unit.w.grad.clone(), unit.b.grad.clone()])
    for gradient, expected in zip(*grads, strict=True):
        torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("strict", [True, False])
def test_export_sees_one_operation(strict: bool) -> None:
    unit, x = Unit(), torch.randn(3, 16)
    program = torch.export.export(unit, (x,), strict=strict)
    assert our_operations(program.graph) == ["solu.activation.default"]
    torch.testing.assert_close(program.module()(x), unit(x))


def test_autocast_sees_one_operation_and_keeps_the_dtype() -> None:
    unit = Unit()
    linear = nn.Linear(16, 16)
    x = torch.randn(3, 16)
    with torch.autocast("cpu", torch.bfloat16):
        pre = linear(x)
        with torch.profiler.profile() as profile:
            out = solu_model.solu_ln(pre, unit.w, unit.b, 1e-5)
    assert pre.dtype == out.dtype == torch.bfloat16
    torch.testing.assert_close(out, reference.solu_ln(pre, unit.w, unit.b, 1e-5))
    assert [e.name for e in profile.events() if e.name.startswith("solu::")] == ["solu::activation"]
    out.float().sum().backward()
    assert unit.w.grad.dtype == torch.float32


def tiny(act_fn: str = "solu_ln", n_blocks: int = 1) -> SoluForCausalLM:
    torch.manual_seed(0)
    shape: dict[str, Any] = {
        "d_vocab": 50,
        "n_ctx": 16,
        "d_model": 16,
        "n_heads": 2,
        "d_head": 8,
        "d_mlp": 32,
    }
    config = SoluConfig(**shape, n_layers=2, act_fn=act_fn, n_mlp_blocks=n_blocks, initializer_range=0.5)
    return SoluForCausalLM(config).eval()


@pytest.mark.parametrize("act_fn", ["solu_ln", "solu", "exp_ln", "gelu", "gelu_ln"])
def test_named_activations_are_those_that_the_model_uses(act_fn: str) -> None:
    model = tiny(act_fn, 2)
    tokens = torch.randint(50, (2, 16))
    logits, taken = model.run_with_cache(tokens, model.point_names())
    post_only = model.run_with_cache(tokens, ["blocks.1.mlp.hook_post"])[1]
    assert torch.equal(logits, model(tokens).logits)
    assert torch.equal(post_only["blocks.1.mlp.hook_post"], taken["blocks.1.mlp.hook_post"])
    assert set(taken) == set(model.point_names())
    mlp = model.blocks[1].mlp
    pre = taken["blocks.1.mlp.hook_pre"]
    mid = taken.get("blocks.1.mlp.hook_mid")
    if mlp.ln is not None:
        torch.testing.assert_close(mid, reference.activation(act_fn, pre, 2))
        torch.testing.assert_close(taken["blocks.1.mlp.hook_post"], mlp.ln(mid))
    else:
        assert mid is None
        torch.testing.assert_close(taken["blocks.1.mlp.hook_post"], reference.activation(act_fn, pre, 2))


def test_backends_leave_no_trace_in_a_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = torch.randint(50, (2, 16))
    logits, keys = [], []
    for backend in ("numba", "reference"):
        monkeypatch.setenv(op.ENVIRONMENT_VARIABLE, backend)
        model = tiny()
        logits.append(model(tokens).logits)
        keys.append(list(model.state_dict()))
    assert keys[0] == keys[1]
    torch.testing.assert_close(*logits)
