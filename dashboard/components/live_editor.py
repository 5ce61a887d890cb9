"""The editor: text that the browser owns, over a layer of coloured tokens. Text nodes only, never HTML."""

from pathlib import Path
from typing import Any

import streamlit as st

_HERE = Path(__file__).parent

_mount = st.components.v2.component(
    "solu_live_editor",
    html="""<section class="editor">
<div class="bar"><div class="legend"></div><div class="choices" hidden></div></div>
<div class="original" hidden></div>
<label class="label" for="text">Your text</label>
<div class="paper"><div class="layer" aria-hidden="true" dir="auto"></div>
<textarea id="text" dir="auto" rows="4" spellcheck="false" autocomplete="off" autocapitalize="off"
 aria-describedby="readout"></textarea></div>
<div class="readout" id="readout"></div>
<div class="notes" role="status"></div>
<div class="pinned"></div>
<div class="tip" role="tooltip" hidden></div>
</section>""",
    css=(_HERE / "live_editor.css").read_text(encoding="utf-8"),
    js=(_HERE / "live_tokens.js").read_text(encoding="utf-8")
    + (_HERE / "live_editor.js").read_text(encoding="utf-8"),
)


def live_editor(data: dict[str, Any], key: str) -> None:
    """Draw the editor. What a person does in it is `st.session_state[key]["edit"]` in the next run: `text`,
    `caret` (offset), `keep` (`first` or `last`), `reset` and `seq`.

    Args:
        data: `reset`: changes when `text` is to take the place of what is in the browser; `text`: None while
            the browser owns it; `seq`: of the edit that was read; `max_text`: most code units;
            `hooks`, `shown`, `scale`: as for the token view; `reading`: None, or `start`, `ends`,
            `values` (by hook, a value a piece), `n_read`, `n_all` (tokens), `n_ctx`, `at` (the chosen piece
            or -1); `original`: None, or `title`, `detail`, `ends`, `values`, `text`; `same`: for each
            piece of the reading its piece of the original or -1; `pinned`: `label`, `scale` and `values`
            of each pinned neuron; `problem`: a message, or empty; `follows`: whether a move of the caret is
            to be told.
        key: keep it, whatever changes.
    """
    _mount(key=key, data=data, on_edit_change=lambda: None)
