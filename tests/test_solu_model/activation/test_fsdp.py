"""A model with the fused activation, sharded over processes: the same loss and gradients as in one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from tests.test_solu_model.activation.fsdp_worker import model_and_tokens

ROOT = Path(__file__).parents[3]
WORLD = 2


@pytest.mark.slow
@pytest.mark.timeout(280)
def test_two_processes_compute_what_one_does(tmp_path: Path) -> None:
    if not (dist.is_available() and dist.is_gloo_available()):
        pytest.skip("torch came without gloo, which processes on CPUs communicate with")
    result = tmp_path / "result.pt"
    command = [sys.executable, "-m", "tests.test_solu_model.activation.fsdp_worker"]
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "SOLU_ACTIVATION_BACKEND": "numba",
    }
    workers = [
        subprocess.Popen(
            [*command, str(rank), str(WORLD), str(tmp_path / "meeting"), str(result)],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(WORLD)
    ]
    try:
        outputs = [worker.communicate(timeout=240)[0] for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    assert [worker.returncode for worker in workers] == [0] * WORLD, "\n".join(outputs)
    sharded = torch.load(result)

    model, tokens = model_and_tokens()
    loss = model(tokens, labels=tokens).loss
    loss.backward()
    torch.testing.assert_close(sharded["loss"], loss.detach())
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(sharded["grads"][name], parameter.grad, rtol=1e-4, atol=1e-6)
    assert sharded["operations"] == ["solu.activation.default"] * 2 + ["solu.activation_backward.default"] * 2
