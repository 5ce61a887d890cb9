"""The names that `cache` exports: all of them load, without torch, and the package is typed."""

import subprocess
import sys
from importlib.resources import files

import pytest

import cache


def run(code: str) -> str:
    """Return the output of a program in a new interpreter."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("name", cache.__all__)
def test_every_name_loads(name):
    assert getattr(cache, name).__name__ == name


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'cache' has no attribute 'Nothing'"):
        _ = cache.Nothing


def test_importing_the_package_loads_nothing_else():
    assert run("import cache, sys; print([m for m in sys.modules if m.startswith('cache.')])") == "[]\n"


def test_no_name_needs_torch():
    code = (
        "import cache, sys\n"
        "for name in cache.__all__: getattr(cache, name)\n"
        "heavy = ('torch', 'transformers', 'numba', 'solu_model', 'streamlit')\n"
        "print([m for m in heavy if m in sys.modules])"
    )
    assert run(code) == "[]\n"


def test_the_package_is_typed():
    assert (files(cache) / "py.typed").is_file()
