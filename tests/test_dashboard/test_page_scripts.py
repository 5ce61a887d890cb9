"""Traps in the scripts of pages, which Streamlit runs in its own way."""

import ast
from pathlib import Path

import pytest

import dashboard
from dashboard.shared import page_paths

FOLDER = Path(dashboard.__file__).parent
PAGES = [path for name, path in vars(page_paths).items() if name.isupper()]


@pytest.mark.parametrize("page", PAGES)
def test_no_text_is_drawn_by_accident(page: str) -> None:
    """Streamlit draws a string that stands alone in a page's script, unless it is a docstring."""
    tree = ast.parse((FOLDER / page).read_text(encoding="utf-8"))
    scopes = [n for n in ast.walk(tree) if isinstance(n, ast.Module | ast.FunctionDef | ast.ClassDef)]
    docstrings = [scope.body[0] for scope in scopes if ast.get_docstring(scope) is not None]
    alone = [
        (node.lineno, node.value.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and node not in docstrings
    ]
    assert not alone, "write a comment instead"
