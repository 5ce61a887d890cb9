"""Read the JavaScript and CSS of components, as the strings that Streamlit takes."""

import json
from pathlib import Path

from analysis.formatting import ESCAPED, MARKS
from dashboard.shared.hook_names import HOOK_LABELS

_DOM, _DOM_STYLE = (Path(__file__).with_name(name) for name in ("dom.js", "dom.css"))


def script(folder: Path, *names: str, hook_labels: bool = False) -> str:
    """Return the JavaScript of a component: constants that Python owns, `dom.js`, then its own files.

    Streamlit runs a component's script as one module, so that files share names by being joined.

    Args:
        folder: of the component.
        names: its own files, in the order in which they are read.
        hook_labels: include the labels of the hooks. Not for the rating of a blinded study, whose browser
            must receive no hook's name.
    """
    constants: dict[str, object] = {"MARKS": MARKS, "ESCAPED": ESCAPED}
    if hook_labels:
        constants["HOOK_LABELS"] = HOOK_LABELS
    lines = [f"const {name} = {json.dumps(value)};\n" for name, value in constants.items()]
    files = [_DOM, *(folder / name for name in names)]
    return "".join([*lines, *(file.read_text(encoding="utf-8") for file in files)])


def style(folder: Path, name: str) -> str:
    """Return the CSS of a component: `dom.css`, then its own file, which may override it."""
    return "".join(file.read_text(encoding="utf-8") for file in (_DOM_STYLE, folder / name))
