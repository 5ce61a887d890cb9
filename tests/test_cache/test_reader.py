"""Opening a cache: without torch, and with a clear error for a damaged one."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cache.format.schema import CacheError
from cache.reader import NeuronCache


def read_all(folder: Path) -> None:
    """Read something from every file."""
    cache = NeuronCache.open(folder)
    neuron = cache.neuron(0, 0)
    _ = (neuron.top("hook_mid"), neuron.moments("hook_mid"), neuron.ranges("hook_mid"), cache.vocabulary)
    _ = (cache.sample(), cache.neurons_for(5, 0, "hook_mid"), cache.table(0, "hook_mid"))


@pytest.fixture
def copy(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model / "neurons", tmp_path / "neurons"))


def test_reading_imports_no_torch(tiny_model):
    code = (
        "import sys; from cache.reader import NeuronCache\n"
        f"NeuronCache.open({str(tiny_model / 'neurons')!r}).neuron(0, 1).top('hook_mid')\n"
        "heavy = ('torch', 'transformers', 'numba', 'solu_model', 'streamlit')\n"
        "print([m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_cache_names_the_command(tmp_path):
    with pytest.raises(CacheError, match="solu cache build --model"):
        NeuronCache.open(tmp_path)


@pytest.mark.parametrize(("layer", "index"), [(1, 0), (0, 48), (0, -1)])
def test_an_unknown_neuron_names_those_there_are(tiny_model, layer, index):
    with pytest.raises(CacheError, match=r"layers 0 with neurons 0 to 47 each"):
        NeuronCache.open(tiny_model / "neurons").neuron(layer, index)


def test_an_unknown_hook_names_those_there_are(tiny_model):
    with pytest.raises(CacheError, match="hook_mid and hook_post, not 'hook_pre'"):
        NeuronCache.open(tiny_model / "neurons").neuron(0, 0).top("hook_pre")


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"format": "other"}', "\xff"])
def test_a_damaged_manifest(copy, text):
    (copy / "cache.json").write_text(text, encoding="latin-1")
    with pytest.raises(CacheError, match="not a manifest"):
        NeuronCache.open(copy)


def test_a_newer_version_is_refused(copy):
    manifest = json.loads((copy / "cache.json").read_text())
    (copy / "cache.json").write_text(json.dumps(manifest | {"version": 99}))
    with pytest.raises(CacheError, match="version"):
        NeuronCache.open(copy)


def test_a_missing_part_is_named(copy):
    (copy / "sample.parquet").unlink()
    with pytest.raises(CacheError, match=r"lacks sample\.parquet"):
        NeuronCache.open(copy)


@pytest.mark.parametrize(
    "name",
    [
        "examples/0000/00000.parquet",
        "profiles/0000/00000.parquet",
        "neurons.parquet",
        "documents.parquet",
        "vocabulary.parquet",
        "sample.parquet",
        "tokens.parquet",
    ],
)
def test_a_damaged_part_is_named(copy, name):
    data = bytearray((copy / name).read_bytes())
    data[-20:] = b"\0" * 20
    (copy / name).write_bytes(data)
    with pytest.raises(CacheError, match=f"{name} is damaged"):
        read_all(copy)


def test_integers_of_numpy_are_indices(tiny_model):
    cache = NeuronCache.open(tiny_model / "neurons")
    neuron = cache.neuron(np.int64(0), np.uint16(3))
    assert json.dumps([neuron.layer, neuron.index]) == "[0, 3]"
    hook = cache.hooks[0]
    assert cache.table(np.int64(0), hook) == cache.table(0, hook)
    assert cache.neurons_for(np.int64(1), np.int64(0), hook) == cache.neurons_for(1, 0, hook)
    with pytest.raises(TypeError):
        cache.neuron(0, 1.0)
