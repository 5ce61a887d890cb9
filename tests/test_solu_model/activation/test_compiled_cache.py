"""The process that compiles the kernels computes the same bits as every later process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from solu_model.activation.cpu import compiled_cache

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


IN_MEMORY = """
import numba.core.caching, os
numba.core.caching.CacheImpl._locator_classes = []  # as where it can write to no folder
from cache.statistics.jit import compiled, inlined

@inlined
def one(x):
    return x + 1

@compiled
def two(x):
    return one(x) + 1

print(two(1), os.environ["SOLU_COMPILED_IN_MEMORY"])  # by which the activation's kernels do not warn again
"""


def test_without_a_folder_to_write_to_loops_are_compiled_in_memory_with_one_warning():
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    environment.pop("SOLU_COMPILED_IN_MEMORY", None)
    done = subprocess.run(
        [sys.executable, "-c", IN_MEMORY], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "3 1\n"
    assert done.stderr.count("no folder for compiled code can be written to") == 1
    assert "Set NUMBA_CACHE_DIR" in done.stderr


def test_no_child_compiles_where_nothing_can_be_kept(monkeypatch, caplog, tmp_path):
    source = Path("/proc/self/ns/source.py")  # no folder can be made beside it, by any account
    monkeypatch.setattr(compiled_cache.subprocess, "run", lambda *_, **__: 1 / 0)
    monkeypatch.delenv("SOLU_COMPILED_IN_MEMORY", raising=False)
    monkeypatch.setenv("NUMBA_CACHE_DIR", "/proc/self/ns/here")
    monkeypatch.setattr("numba.misc.appdirs.AppDirs.user_cache_dir", "/proc/self/ns/home")
    assert compiled_cache._folder(source.parent) is None
    (tmp_path / "source.py").write_text("x = 1")
    monkeypatch.setattr(compiled_cache, "_folder", lambda _: None)
    for _ in range(2):
        compiled_cache.fill([tmp_path / "source.py"], "pass")
    assert len(caplog.records) == 1


def test_the_accounts_folder_serves_a_read_only_installation(monkeypatch, tmp_path):
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setattr("numba.misc.appdirs.AppDirs.user_cache_dir", str(tmp_path / "numba"))
    assert compiled_cache._folder(Path("/proc/self/ns")) == tmp_path / "numba"
    assert compiled_cache._folder(tmp_path) == tmp_path / "__pycache__"
