"""Read the JavaScript and CSS of components, as the strings that Streamlit takes.

Streamlit sends both again at every rerun that draws the component, so they are sent short: without comments
and indentation, and with no part of `dom.js` that the component does not use.
"""

import json
import re
from pathlib import Path

from analysis.formatting import ESCAPED, MARKS
from dashboard.shared.hook_names import HOOK_LABELS

_FOLDER = Path(__file__).parent
_COMMENT_LINE = re.compile(r"^\s*//.*\n", re.MULTILINE)
_INDENTATION = re.compile(r"^\s+", re.MULTILINE)
_CSS_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_DECLARATION = re.compile(r"^(?:async )?(?:function|class|const) (\w+)", re.MULTILINE)


def script(folder: Path, *names: str) -> str:
    """Return the JavaScript of a component: the parts of `dom.js` that it uses, then its own files.

    Streamlit runs a component's script as one module, so that files share names by being joined.

    Args:
        folder: of the component.
        names: its own files, in the order in which they are read.
    """
    own = "".join(_code(folder / name) for name in names)
    used = _used_declarations(_tables() + _code(_FOLDER / "dom.js"), own)
    return _INDENTATION.sub("", used + own)  # no string of ours goes over several lines


def style(folder: Path, name: str, *, dom: bool = True) -> str:
    """Return the CSS of a component.

    Args:
        folder: of the component.
        name: its own file, which may override `dom.css`.
        dom: put `dom.css` before it; a component without tokens, options and tooltips needs none of it.
    """
    files = [_FOLDER / "dom.css", folder / name] if dom else [folder / name]
    rules = "".join(file.read_text(encoding="utf-8") for file in files)
    return _INDENTATION.sub("", _CSS_COMMENT.sub("", rules))


def _tables() -> str:
    """Return the tables that Python owns as JavaScript, so that both write tokens and hooks alike."""
    tables = {"MARKS": MARKS, "ESCAPED": ESCAPED, "HOOK_LABELS": HOOK_LABELS}
    return "".join(f"const {name} = {json.dumps(table)};\n" for name, table in tables.items())


def _code(file: Path) -> str:
    """Return JavaScript without lines of comments."""
    return _COMMENT_LINE.sub("", file.read_text(encoding="utf-8"))


def _used_declarations(library: str, code: str) -> str:
    """Return the top-level declarations of a library that code uses, directly or through others, in order."""
    starts = [match.start() for match in _DECLARATION.finditer(library)]
    parts = [library[start:end] for start, end in zip(starts, [*starts[1:], len(library)], strict=True)]
    by_name = {_DECLARATION.match(part)[1]: part for part in parts}  # type: ignore[index]
    used: set[str] = set()
    unread = [code]
    while unread:
        new = set(re.findall(r"\w+", unread.pop())) & (by_name.keys() - used)
        used |= new
        unread += [by_name[name] for name in new]
    return "".join(part for name, part in by_name.items() if name in used)
