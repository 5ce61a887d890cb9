"""The CUDA kernels against the definition in float64: on a GPU, or under Triton's interpreter.

The interpreter must be enabled before Triton is imported, and transformers imports it. Without a GPU this
file therefore runs itself in a new process.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ON_GPU = torch.cuda.is_available()
INTERPRETING = os.environ.get("TRITON_INTERPRET") == "1"
ROOT = Path(__file__).parents[3]

if not ON_GPU and not INTERPRETING:

    @pytest.mark.slow
    @pytest.mark.timeout(280)
    def test_under_the_interpreter() -> None:
        pytest.importorskip("triton", reason="Triton is not installed: its kernels cannot be interpreted")
        command = [sys.executable, "-m", "pytest", "--noconftest", "-q", "-p", "no:cacheprovider", __file__]
        environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

else:
    pytest.importorskip("triton", reason="Triton is not installed")
    from solu_model import exp_ln, solu, solu_ln
    from solu_model.activation import op, reference
    from solu_model.activation.cuda import backend as cuda
    from tests.test_solu_model.activation.cases import EPS, INPUTS, ROUNDING, compare

    FUNCTIONS = {"solu_ln": solu_ln, "exp_ln": exp_ln}
    DEVICE = "cuda" if ON_GPU else "cpu"
    # The interpreter computes with numpy, which warns where a GPU does not.
    pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

    @pytest.fixture(params=["one pass", "looped"])
    def branch(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """Run one kind of kernel for every width; return the names of the kernels that ran."""
        if request.param == "looped":
            monkeypatch.setattr(cuda, "_ONE_PASS_FORWARD", 0)
            monkeypatch.setattr(cuda, "_ONE_PASS_BACKWARD", 0)
            monkeypatch.setattr(cuda, "_LOOPED_COLUMNS", 512)
        return watch(monkeypatch)

    def watch(monkeypatch: pytest.MonkeyPatch) -> list[str]:
        ran: list[str] = []

        class Watched:
            def __init__(self, name: str, kernel: object) -> None:
                self.name, self.kernel = name, kernel

            def __getitem__(self, grid: tuple[int, ...]):
                ran.append(self.name)
                return self.kernel[grid]

        for module, names in (
            (cuda.one_pass_kernels, ("forward", "backward")),
            (cuda.looped_kernels, ("forward", "backward", "parameter_grads")),
        ):
            kind = module.__name__.rpartition(".")[2].removesuffix("_kernels")
            for name in names:
                monkeypatch.setattr(module, name, Watched(f"{name} {kind}", getattr(module, name)))
        return ran

    def fast(form: str, n_blocks: int = 1):
        def run(x, w, b):
            out, mid = FUNCTIONS[form](
                x.to(DEVICE), w.to(DEVICE), b.to(DEVICE), EPS, n_blocks, return_mid=True, backend="triton"
            )
            return out.cpu(), mid.cpu()

        return run

    @pytest.mark.parametrize("width", [1, 7, 1000, 4097])
    @pytest.mark.parametrize("kind", INPUTS)
    def test_solu_ln(kind: str, width: int, branch: list[str]) -> None:
        torch.manual_seed(width)
        shares = compare(fast("solu_ln"), "solu_ln", 1, INPUTS[kind](width), torch.float32)
        assert max(shares.values()) <= 1, shares
        assert len(set(ran := [name.endswith("looped") for name in branch])) == 1
        assert len(ran) == (3 if ran[0] else 2)

    @pytest.mark.parametrize("dtype", ROUNDING, ids=str)
    @pytest.mark.parametrize("form", FUNCTIONS)
    @pytest.mark.usefixtures("branch")
    def test_dtypes_and_blocks(form: str, dtype: torch.dtype) -> None:
        torch.manual_seed(0)
        for n_blocks in (1, 3):
            shares = compare(fast(form, n_blocks), form, n_blocks, torch.randn(7, 300), dtype)
            # The interpreter truncates bfloat16; a GPU rounds it.
            assert max(shares.values()) <= (2 if dtype == torch.bfloat16 and not ON_GPU else 1), shares

    @pytest.mark.parametrize("width", [2048, 9000, 20000])
    def test_the_width_chooses_the_kernel(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
        ran = watch(monkeypatch)
        torch.manual_seed(0)
        shares = compare(fast("solu_ln"), "solu_ln", 1, torch.randn(2, width), torch.float32)
        assert max(shares.values()) <= 1, shares
        assert ("forward looped" in ran) == (width > 16384)
        assert ("backward looped" in ran) == (width > 8192)

    @pytest.mark.usefixtures("branch")
    def test_without_norm() -> None:
        x = torch.randn(5, 700, device=DEVICE)
        g = torch.randn_like(x)
        for function, definition in (
            (lambda t: solu(t, 2, backend="triton"), lambda t: reference.solu(t, 2)),
            (
                lambda t: op.activation_op(t, None, None, 0.0, 1, False, False, "triton")[0],
                reference.exp_unit,
            ),
        ):
            leaf, exact = x.clone().requires_grad_(), x.double().requires_grad_()
            out, y = function(leaf), definition(exact)
            out.backward(g)
            y.backward(g.double())
            torch.testing.assert_close(out.double(), y, rtol=1e-5, atol=1e-6)
            torch.testing.assert_close(leaf.grad.double(), exact.grad, rtol=1e-5, atol=1e-6)

    @pytest.mark.usefixtures("branch")
    def test_nan_and_infinity_are_where_the_definition_has_them() -> None:
        x = torch.randn(6, 700)
        x[0, 5] = float("nan")
        x[1, 5] = float("inf")
        x[2] = -float("inf")
        x[2, 690] = 2.0
        x[3] = -float("inf")
        x[4, 1] = -float("inf")
        x = x.to(DEVICE)
        w, b = torch.randn(2, 700, device=DEVICE)
        torch.testing.assert_close(solu(x, backend="triton"), reference.solu(x), equal_nan=True)
        out = solu_ln(x, w, b, 1e-5, backend="triton")
        torch.testing.assert_close(out, reference.solu_ln(x, w, b, 1e-5), equal_nan=True)

    def test_strides() -> None:
        x = torch.randn(6, 3, 40, device=DEVICE).transpose(0, 1)
        w, b = torch.randn(2, 40, device=DEVICE)
        out = solu_ln(x, w, b, 1e-5, backend="triton")
        torch.testing.assert_close(out, reference.solu_ln(x, w, b, 1e-5), rtol=1e-5, atol=1e-5)

    def test_registration() -> None:
        arguments = (
            torch.randn(2, 3, 8, device=DEVICE, requires_grad=True),
            torch.ones(8, device=DEVICE, requires_grad=True),
            torch.zeros(8, device=DEVICE, requires_grad=True),
        )
        torch.library.opcheck(op.activation_op, (*arguments, 1e-5, 2, True, True, "triton"))
