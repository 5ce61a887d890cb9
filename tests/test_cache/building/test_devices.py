"""Devices and number formats of a build."""

from pathlib import Path

import numpy as np
import pytest

from cache.building.build import build_cache
from cache.building.engine import Engine, Options
from cache.reader import NeuronCache
from solu_model import CheckpointError


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (Options(device="foo"), "there is no device 'foo': this machine has cpu"),
        (Options(device="cuda:7"), "there is no device 'cuda:7': this machine has cpu"),
        (Options(device="meta"), "device 'meta' holds shapes and no numbers"),
        (Options(dtype="float8"), "dtype must be one of float32, bfloat16, float16, got 'float8'"),
    ],
)
def test_devices_and_formats_are_checked_before_anything_is_read(
    options: Options, message: str, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=message):
        Engine(tmp_path / "nowhere", options)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_cache_in_half_precision(dtype: str, tiny_model: Path, corpus: Path, tmp_path: Path) -> None:
    build_cache(tiny_model, [corpus], tmp_path, Options(dtype=dtype, device="cpu"), progress=False)
    half, whole = NeuronCache.open(tmp_path), NeuronCache.open(tiny_model / "neurons")
    assert (half.manifest.dtype, whole.manifest.dtype) == (dtype, "float32")
    assert half.manifest.model.sha256 == whole.manifest.model.sha256
    largest = [cache.table(0, "hook_post")["max"].to_numpy() for cache in (half, whole)]
    np.testing.assert_allclose(*largest, rtol=0.05, atol=0.05)
