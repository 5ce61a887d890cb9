"""The process that compiles the kernels computes the same bits as every later process."""

import os
import subprocess
import sys

import pytest

COMPUTE = """
import hashlib, torch, solu_model
torch.manual_seed(0)
torch.set_num_threads(1)
x = torch.randn(64, 1536, requires_grad=True)
y = solu_model.solu_ln(x, torch.ones(1536), torch.zeros(1536), 1e-5, backend="numba")
y.square().sum().backward()
digest = hashlib.sha256(y.detach().numpy().tobytes() + x.grad.numpy().tobytes())
print(digest.hexdigest())
"""


@pytest.mark.slow
def test_the_first_process_computes_what_later_ones_do(tmp_path):
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    digests = [
        subprocess.run(
            [sys.executable, "-c", COMPUTE], env=environment, capture_output=True, text=True, check=True
        ).stdout
        for _ in range(3)
    ]
    assert digests[0] == digests[1] == digests[2]
    assert list(tmp_path.glob("solu-kernels-*"))
    assert list(tmp_path.rglob("*.nbi"))
