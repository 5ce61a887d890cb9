"""The scripts and style sheets of components: complete, without what is not used, and blind for raters."""

import re
from pathlib import Path

import pytest

import dashboard
from dashboard.shared.components.browser_files import script, style

ROOT = Path(dashboard.__file__).parent
DECLARATION = re.compile(r"^(?:async )?(?:function|class|const|let) (\w+)", re.MULTILINE)


def write(folder: Path, text: str) -> str:
    """Write a component of one file, and return its script."""
    (folder / "own.js").write_text(text)
    return script(folder, "own.js")


def library_names(text: str) -> set[str]:
    """Return what a script declares of `dom.js` and of the tables of Python."""
    library = (ROOT / "shared/components/dom.js").read_text(encoding="utf-8")
    names = {*DECLARATION.findall(library), "MARKS", "ESCAPED", "HOOK_LABELS"}
    return names & set(DECLARATION.findall(text))


def test_a_script_has_what_it_uses_and_what_that_uses(tmp_path: Path) -> None:
    assert library_names(write(tmp_path, "number(1);\n")) == {"number", "roundHalfEven"}
    assert library_names(write(tmp_path, "const a = 1;\n")) == set()
    assert library_names(write(tmp_path, "drawToken(HOOK_LABELS.hook_mid);\n")) == {
        "MARKS", "ESCAPED", "HOOK_LABELS", "element", "ESCAPED_CHARACTER", "escapeInvisible", "drawToken",
    }  # fmt: skip


def test_comments_and_indentation_are_not_sent(tmp_path: Path) -> None:
    own = write(
        tmp_path, "// why\nfunction a() {\n  // why\n  return 'http://x'; // not a line of its own\n}\n"
    )
    assert own == "function a() {\nreturn 'http://x'; // not a line of its own\n}\n"
    (tmp_path / "own.css").write_text("/* why\n   so */\n.a {\n  color: red; /* here */\n}\n")
    assert style(tmp_path, "own.css", dom=False) == ".a {\ncolor: red; \n}\n"
    assert style(tmp_path, "own.css").endswith(".a {\ncolor: red; \n}\n")
    assert ".tip" in style(tmp_path, "own.css")


def test_nothing_of_the_shared_script_is_dead() -> None:
    library = (ROOT / "shared/components/dom.js").read_text(encoding="utf-8")
    others = "".join(
        f.read_text(encoding="utf-8") for f in ROOT.rglob("components/*.js") if f.name != "dom.js"
    )
    words = re.findall(r"\w+", others + library)
    assert [name for name in DECLARATION.findall(library) if words.count(name) < 2] == []


@pytest.mark.parametrize("folder", ["neuron", "neurons", "editor", "studies", "shared"])
def test_no_string_goes_over_several_lines(folder: str) -> None:
    """Indentation is taken out of scripts: it must not be part of a template."""
    for file in (ROOT / folder / "components").glob("*.js"):
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
        code = "".join(line.split(" // ")[0] for line in lines if not line.lstrip().startswith("//"))
        for template in re.findall(r"`[^`]*`", code):
            assert "\n" not in template, (file, template)


def test_a_raters_script_names_no_hook() -> None:
    folder = ROOT / "studies" / "components"
    assert "hook" not in script(folder, *(f.name for f in sorted(folder.glob("*.js")))).lower()
