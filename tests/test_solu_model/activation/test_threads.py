"""Several threads of a server at once, the interpreter lock, and training on either backend."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import solu_model
from solu_model.activation import op
from solu_model.activation.cpu import threads as cpu_threads
from solu_model.config import SoluConfig
from solu_model.model import SoluForCausalLM

ROOT = Path(__file__).parents[3]


@pytest.fixture(params=["openmp", "pool"])
def threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):
    """Use three threads for each operation, torch's or those of our pool."""
    if request.param == "pool":
        monkeypatch.setattr(cpu_threads, "_openmp", lambda: None)
    elif cpu_threads._openmp() is None:
        pytest.skip("torch came without GNU OpenMP")
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def at_once(work: Callable[[int], None], n: int = 8) -> None:
    """Run work(0) ... work(n - 1) in n threads and raise the first error."""
    errors: list[BaseException] = []
    barrier = threading.Barrier(n)

    def one(index: int) -> None:
        try:
            barrier.wait()
            work(index)
        except BaseException as error:
            errors.append(error)

    started = [threading.Thread(target=one, args=(i,)) for i in range(n)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    if errors:
        raise errors[0]


@pytest.mark.usefixtures("threads")
def test_eight_threads_at_once() -> None:
    inputs = torch.randn(8, 300, 256)
    weight, bias = torch.randn(2, 256)

    def both(i: int) -> tuple[torch.Tensor, torch.Tensor]:
        x = inputs[i].clone().requires_grad_()
        out = solu_model.solu_ln(x, weight, bias, 1e-5, backend="numba")
        out.square().sum().backward()
        return out.detach(), x.grad

    expected = [both(i) for i in range(8)]

    def work(i: int) -> None:
        torch.set_num_threads(3)  # a new thread starts from the default
        for _ in range(20):
            for actual, right in zip(both(i), expected[i], strict=True):
                assert torch.equal(actual, right)

    at_once(work)


def test_the_interpreter_lock_is_released() -> None:
    x = torch.randn(3000, 4096)
    solu_model.solu(x[:1], backend="numba")
    began, ended = threading.Event(), threading.Event()

    def work() -> None:
        began.set()
        for _ in range(5):
            solu_model.solu(x, backend="numba")
        ended.set()

    thread = threading.Thread(target=work)
    thread.start()
    began.wait()
    turns = 0
    while not ended.wait(0.001):
        turns += 1
    thread.join()
    assert turns > 5  # if the lock were held, this thread would run only between two operations


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_makes_its_own_pool() -> None:
    code = """
import os, torch
from solu_model.activation.cpu import threads as cpu_threads
import solu_model
cpu_threads._openmp = lambda: None
torch.set_num_threads(2)
x = torch.randn(400, 256)
expected = solu_model.solu(x, backend="numba")
pid = os.fork()
if not pid:
    os._exit(0 if torch.equal(solu_model.solu(x, backend="numba"), expected) else 3)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=120)


@pytest.mark.parametrize("writable", [True, False])
def test_compiled_kernels_are_cached_if_the_folder_is_writable(
    writable: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Use a folder that cannot be created to stand for an installation that is not writable."""
    folder = tmp_path / "numba"
    if not writable:
        folder.parent.joinpath("file").touch()
        folder = folder.parent / "file" / "numba"
    code = "import solu_model; from solu_model.activation.cpu import backend; backend.load()"
    environment = os.environ | {"NUMBA_CACHE_DIR": str(folder), "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], env=environment, cwd=ROOT, check=True, timeout=200)
    assert (len(list(folder.rglob("*.nbc"))) == 2) == writable


def losses(backend: str, monkeypatch: pytest.MonkeyPatch) -> torch.Tensor:
    """Return the losses of 300 training steps on text in which a token nearly determines the next."""
    monkeypatch.setenv(op.ENVIRONMENT_VARIABLE, backend)
    torch.manual_seed(0)
    config = SoluConfig(d_vocab=32, n_ctx=16, d_model=32, n_layers=1, n_heads=2, d_head=16, d_mlp=128)
    model = SoluForCausalLM(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, fused=True)
    following = torch.randperm(32)
    curve = []
    for _ in range(300):
        rows = [torch.randint(32, (16,))]
        for _ in range(15):
            other = torch.randint(32, (16,))
            rows.append(torch.where(torch.rand(16) < 0.9, following[rows[-1]], other))
        tokens = torch.stack(rows, 1)
        loss = model(tokens, labels=tokens).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        curve.append(loss.item())
    return torch.tensor(curve)


def test_training_losses_agree_on_both_backends(monkeypatch: pytest.MonkeyPatch) -> None:
    fast, definition = (losses(backend, monkeypatch) for backend in ("numba", "reference"))
    assert definition[0] - definition[-20:].mean() > 1.5  # the loss went down
    assert (fast - definition).abs().max() < 0.01  # nats; steps differ by 0.1 from noise in the data
