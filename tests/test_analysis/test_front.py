"""The front of the package: names that resolve, and imports that stay light."""

import ast
import subprocess
import sys
from pathlib import Path

import analysis

ROOT = Path(analysis.__file__).parents[1]
FORBIDDEN = ("torch", "streamlit", "plotly", "sqlalchemy", "duckdb")


def test_every_name_resolves_to_what_the_type_checker_sees() -> None:
    tree = ast.parse(Path(analysis.__file__).read_text(encoding="utf-8"))
    typed = {
        alias.name: node.module
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert sorted(typed) == analysis.__all__
    for name, module in typed.items():
        assert getattr(analysis, name) is getattr(sys.modules[str(module)], name)


def test_importing_the_package_loads_nothing_and_using_all_of_it_no_heavy_library() -> None:
    code = f"""
import sys
import analysis
assert not any(name.startswith(("analysis.", "numpy")) for name in sys.modules), "loaded at import"
for name in analysis.__all__:
    getattr(analysis, name)
heavy = {{name.split(".")[0] for name in sys.modules}} & set({FORBIDDEN!r})
assert not heavy, heavy
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr


def test_the_package_is_typed_for_others() -> None:
    assert (Path(analysis.__file__).parent / "py.typed").is_file()
