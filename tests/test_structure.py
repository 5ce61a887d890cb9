"""What keeps the repository in shape: commands documented, light imports, no stray files."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from dashboard.cli import app
from dashboard.editor.panels import PANELS as EDITOR_PANELS
from dashboard.lab.parts import PARTS as LAB_PARTS
from dashboard.neuron.panels import PANELS
from dashboard.shared import address, lab_address, page_paths
from dashboard.shared.parts import Parts

ROOT = Path(__file__).parent.parent
PACKAGES = ("solu_model", "cache", "analysis", "dashboard")
QUESTION_WORDS = {"What", "Which", "Whether", "How", "Who", "Whose", "Where", "Given"}


def commands(command: object, prefix: str = "solu") -> list[str]:
    children = getattr(command, "commands", None)
    if not children:
        return [prefix]
    return [name for key, child in children.items() for name in commands(child, f"{prefix} {key}")]


def test_every_command_is_in_the_readme():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [c for c in commands(get_command(app)) if c not in readme] == []


@pytest.mark.parametrize(
    "module",
    [
        "solu_model",
        "solu_model.text.documents",
        "solu_model.files",
        "cache.reader",
        "cache.commands",
        "dashboard.cli",
    ],
)
def test_light_modules_import_no_torch(module):
    code = f"import {module}, sys; print('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True).strip() == "False"


def test_errors_of_the_command_line_are_one_message():
    command = [sys.executable, "-c", "from dashboard.cli import main; main()", "cache", "info", "nowhere"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "nowhere holds no neuron cache" in done.stderr
    assert "Traceback" not in done.stderr


def test_nothing_is_pickled_or_written_as_html():
    banned = re.compile(
        r"import pickle|unsafe_allow_html|weights_only=False|innerHTML|(?<![\w.])(eval|exec)\("
    )
    for folder in PACKAGES:
        for file in (ROOT / folder).rglob("*"):
            if file.suffix in (".py", ".js"):
                assert not banned.search(file.read_text(encoding="utf-8")), file


def test_bundled_models_stay_small():
    files = [f for f in (ROOT / "models").rglob("*") if f.is_file()]
    assert sum(f.stat().st_size for f in files) < 150e6


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def docstrings(file: Path) -> Iterator[tuple[int, str]]:
    """Line and text of every docstring of a module, those under constants and fields included."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if documented and (text := ast.get_docstring(node)):
            yield getattr(node, "lineno", 1), text
        if isinstance(node, ast.Module | ast.ClassDef):
            for above, below in zip(node.body, node.body[1:], strict=False):
                match above, below:
                    case ((ast.Assign() | ast.AnnAssign()), ast.Expr(value=ast.Constant(value=str(text)))):
                        yield below.lineno, text


def test_docstrings_begin_with_a_verb_or_name_the_thing():
    texts = [
        (f"{file.relative_to(ROOT)}:{line}", text)
        for package in PACKAGES
        for file in (ROOT / package).rglob("*.py")
        for line, text in docstrings(file)
    ]
    questions = [f"{at}: {text.splitlines()[0]}" for at, text in texts if text.split()[0] in QUESTION_WORDS]
    assert len(texts) > 2000
    assert len(questions) <= 0.02 * len(texts), "\n".join(questions)


def test_modules_that_promise_no_streamlit_are_in_the_contract():
    contracts = project()["tool"]["importlinter"]["contracts"]
    (kept,) = [c["source_modules"] for c in contracts if c.get("forbidden_modules") == ["streamlit"]]
    for file in (ROOT / "dashboard").rglob("*.py"):
        text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
        name = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        if "No Streamlit" in text:
            assert any(name == module or name.startswith(f"{module}.") for module in kept), name


def test_every_marker_of_types_is_installed():
    data = project()["tool"]["setuptools"]["package-data"]
    typed = [package for package in PACKAGES if (ROOT / package / "py.typed").is_file()]
    assert typed == [package for package in PACKAGES if "py.typed" in data.get(package, [])]


def test_every_page_path_is_a_file_and_has_one_name():
    paths = {name: path for name, path in vars(page_paths).items() if name.isupper()}
    assert all((ROOT / "dashboard" / path).is_file() for path in paths.values())
    written = re.compile("|".join(map(re.escape, paths.values())))
    for file in (ROOT / "dashboard").rglob("*.py"):
        if file.name != "page_paths.py":
            assert not written.search(file.read_text(encoding="utf-8")), file


@pytest.mark.parametrize(
    ("parts", "names"),
    [(PANELS, address.PANELS), (LAB_PARTS, lab_address.PARTS), (EDITOR_PANELS, tuple(EDITOR_PANELS))],
)
def test_parts_of_a_page_are_those_of_its_address(parts: Parts, names: tuple[str, ...]) -> None:
    assert tuple(parts) == names
    for part in parts.values():
        assert callable(import_module(part.module).draw)
