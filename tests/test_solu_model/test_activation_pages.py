"""Large outputs ask for huge pages, small ones and other systems don't, and a refusal changes nothing."""

import mmap
import sys
from pathlib import Path

import pytest
import torch

import solu_model
from solu_model.activation.cpu import huge_pages


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    monkeypatch.setattr(
        huge_pages, "_advice", lambda: lambda address, n_bytes: found.append((address, n_bytes))
    )
    return found


def test_outputs_and_gradients_of_large_inputs_ask(asked: list[tuple[int, int]]) -> None:
    x = torch.randn(2048, 2048, requires_grad=True)
    out, mid = solu_model.solu_ln(
        x, torch.ones(2048), torch.zeros(2048), 1e-5, return_mid=True, backend="numba"
    )
    (out + mid).sum().backward()
    assert [n for _, n in asked] == [2**24] * 3
    assert [a for a, _ in asked] == [out.data_ptr(), mid.data_ptr(), x.grad.data_ptr()]


def test_small_ones_don_t(asked: list[tuple[int, int]]) -> None:
    solu_model.solu(torch.randn(2047, 2048), backend="numba")
    assert asked == []


def test_elsewhere_nothing_is_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(huge_pages, "_PAGE_SIZE_FILE", tmp_path / "missing")
    huge_pages._advice.cache_clear()
    try:
        assert huge_pages._advice() is None
        x = torch.randn(2048, 2048)
        assert huge_pages.empty_like(x).shape == x.shape
    finally:
        huge_pages._advice.cache_clear()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="huge pages are asked for on Linux")
def test_the_system_gives_them() -> None:
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
    """Huge pages of the mapping that holds an address, by the kernel's account."""
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        first = line.split()[0]
        if "-" in first and not first.endswith(":"):
            low, high = (int(part, 16) for part in first.split("-"))
            inside = low <= address < high
        elif inside and first == "AnonHugePages:":
            return int(line.split()[1])
    return 0
