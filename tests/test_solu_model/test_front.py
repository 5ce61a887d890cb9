"""The public interface `from solu_model import ...`: every name resolves, and importing it is light."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import solu_model

ROOT = Path(__file__).parents[2]


def run(code: str) -> str:
    return subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True).strip()


@pytest.mark.parametrize("name", solu_model.__all__)
def test_every_public_name_resolves_to_the_object_of_that_name(name: str) -> None:
    value = getattr(solu_model, name)
    assert getattr(value, "__name__", name) == name
    assert inspect.getdoc(value), f"{name} has no docstring"


def test_the_three_lists_of_public_names_agree() -> None:
    """`__all__`, the lazy table and the imports for type checkers must hold the same names."""
    tree = ast.parse(Path(str(solu_model.__file__)).read_text(encoding="utf-8"))
    typed = {
        (node.module, alias.name)
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert typed == {(f"solu_model.{m}", n) for n, m in solu_model._MODULE_OF_NAME.items()}
    assert solu_model.__all__ == sorted(solu_model._MODULE_OF_NAME)
    assert set(solu_model.__all__) <= set(dir(solu_model))


def test_importing_the_package_and_reading_text_import_no_torch() -> None:
    code = (
        "import sys, solu_model\n"
        "from solu_model import CorpusError, Document, Piece, read_documents\n"
        "from solu_model import display_pieces, vocabulary_bytes\n"
        "list(read_documents(['README.md']))\n"
        "print(sorted({'torch', 'transformers', 'numba'} & set(sys.modules)))"
    )
    assert run(code) == "[]"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'solu_model' has no attribute 'solu_lm'"):
        _ = solu_model.solu_lm


def test_the_package_is_marked_as_typed() -> None:
    assert Path(str(solu_model.__file__)).with_name("py.typed").is_file()


def test_the_example_of_the_docstring_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    example = inspect.cleandoc(str(solu_model.__doc__)).split("\n\n")[1:3]
    names: dict[str, object] = {}
    code = compile("\n".join(inspect.cleandoc(part) for part in example), "example", "exec")
    exec(code, names)
    T = names["tokens"].shape[1]
    assert names["acts"]["blocks.0.mlp.hook_mid"].shape == (1, T, names["model"].config.d_mlp)
    assert names["change"].shape == (1, T, *names["effect"].shape)
