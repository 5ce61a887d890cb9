"""Huge pages are requested for large outputs on Linux, and for nothing else."""

import mmap
import sys
from pathlib import Path

import pytest
import torch

import solu_model
from solu_model.activation.cpu import huge_pages


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    requested: list[tuple[int, int]] = []
    monkeypatch.setattr(
        huge_pages, "_advice", lambda: lambda address, n_bytes: requested.append((address, n_bytes))
    )
    return requested


def test_large_outputs_and_gradients_request_huge_pages(requests: list[tuple[int, int]]) -> None:
    x = torch.randn(2048, 2048, requires_grad=True)
    out, mid = solu_model.solu_ln(
        x, torch.ones(2048), torch.zeros(2048), 1e-5, return_mid=True, backend="numba"
    )
    (out + mid).sum().backward()
    assert [n for _, n in requests] == [2**24] * 3
    assert [a for a, _ in requests] == [out.data_ptr(), mid.data_ptr(), x.grad.data_ptr()]


def test_small_outputs_request_none(requests: list[tuple[int, int]]) -> None:
    solu_model.solu(torch.randn(2047, 2048), backend="numba")
    assert requests == []


def test_other_systems_have_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(huge_pages, "_PAGE_SIZE_FILE", tmp_path / "missing")
    huge_pages._advice.cache_clear()
    try:
        assert huge_pages._advice() is None
        x = torch.randn(2048, 2048)
        assert huge_pages.empty_like(x).shape == x.shape
    finally:
        huge_pages._advice.cache_clear()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="huge pages are requested on Linux alone")
def test_linux_grants_them() -> None:
    if not (advise := huge_pages._advice()):
        pytest.skip("this system has no transparent huge pages")
    if "[never]" in huge_pages._PAGE_SIZE_FILE.with_name("enabled").read_text():
        pytest.skip("transparent huge pages are switched off here")
    assert mmap.MADV_HUGEPAGE == huge_pages._MADV_HUGEPAGE
    n_bytes = 2**26
    fresh = mmap.mmap(-1, n_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    tensor = torch.frombuffer(fresh, dtype=torch.uint8)
    advise(tensor.data_ptr(), n_bytes)
    tensor.fill_(1)
    assert huge_kib(tensor.data_ptr()) > 0


def huge_kib(address: int) -> int:
    """Return the KiB of huge pages in the mapping that holds an address, from /proc/self/smaps."""
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        first = line.split()[0]
        if "-" in first and not first.endswith(":"):
            low, high = (int(part, 16) for part in first.split("-"))
            inside = low <= address < high
        elif inside and first == "AnonHugePages:":
            return int(line.split()[1])
    return 0
