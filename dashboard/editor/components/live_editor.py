"""The editor: text that the browser owns, over a layer of coloured tokens. Text nodes only, never HTML."""

from pathlib import Path
from typing import Any

import streamlit as st

from dashboard.shared.components.browser_files import script, style

_HERE = Path(__file__).parent

_SCRIPTS = (
    "live_draft.js",
    "live_runs.js",
    "live_reading.js",
    "live_comparison.js",
    "live_requests.js",
    "live_editor.js",
)

_mount = st.components.v2.component(
    "solu_live_editor",
    html="""<section class="editor">
<div class="toolbar"><div class="legend"></div><div class="choices" hidden></div></div>
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
    css=style(_HERE, "live_editor.css"),
    js=script(_HERE, *_SCRIPTS),
)


def live_editor(data: dict[str, Any], key: str) -> None:
    """Draw the editor.

    At every key it requests the colours from the route in `dashboard/editor/reading_route.py`. When typing
    pauses, it reports to the page: `st.session_state[key]["edit"]` in the next run has `text`, `caret`
    (offset or None), `keep` (`first` or `last`) and `text_id`.

    Args:
        data: `text_id`: changes when `text` is to replace the text in the browser; `text`: None while the
            browser owns it; `source`: what the text was opened from, by which a draft is found again after a
            reload; `max_text`: largest number of code units; `keep`: as above; `follows_caret`: True to
            report when the caret moves; `original`: None, or `title`, `detail` and `text`; `pins`: a label
            for each pinned neuron; `reader`: fields of a `ReadingRequest` that name the neurons; `version`:
            changes with the model on disk.
        key: of the component; always the same.
    """
    _mount(key=key, data=data, on_edit_change=lambda: None)
