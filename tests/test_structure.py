"""What keeps the repository in shape: commands documented, light imports, no stray files."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from dashboard.cli import app

ROOT = Path(__file__).parent.parent


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
    for folder in ("solu_model", "cache", "dashboard"):
        for file in (ROOT / folder).rglob("*"):
            if file.suffix in (".py", ".js"):
                assert not banned.search(file.read_text(encoding="utf-8")), file


def test_bundled_models_stay_small():
    files = [f for f in (ROOT / "models").rglob("*") if f.is_file()]
    assert sum(f.stat().st_size for f in files) < 150e6
