"""The rating of cards: what a rater sees and does, in one component for a whole study.

It asks the server's route for its cards (`services/rating.py`), so that Streamlit's own messages are the same
whatever is rated. Text reaches the page through text nodes alone.
"""

from pathlib import Path

import streamlit as st

from dashboard.studies.ratings import MOST_RULE

_HERE = Path(__file__).parent

_mount = st.components.v2.component(
    "solu_rating_card",
    html=f"""<section class="rating" data-phase="loading" aria-label="Rating">
<div class="top">
<b class="count"></b><progress value="0" max="1" aria-label="Rated"></progress>
<span class="dim">time on this one <span class="time"></span></span>
<span class="acts"><button type="button" data-do="undo" disabled>Undo <kbd>U</kbd></button>
<button type="button" data-do="pause">Pause <kbd>P</kbd></button>
<button type="button" data-do="help">Instruction <kbd>?</kbd></button></span>
</div>
<p class="note" role="status"></p>
<div class="instruction"><h2>What you are asked</h2><p class="said"></p>
<p>Look at each for one to two minutes. The redder a token, the stronger the firing; the strongest of each
snippet is bold. You can also say the rule in words and how sure you are, before the verdict.</p>
<dl><dt><kbd>I</kbd></dt><dd>INTERPRETABLE, and on to the next</dd>
<dt><kbd>N</kbd></dt><dd>NOT INTERPRETABLE, and on to the next</dd>
<dt><kbd>/</kbd></dt><dd>write the rule; Enter or Esc leaves it</dd>
<dt><kbd>1</kbd> <kbd>2</kbd> <kbd>3</kbd></dt><dd>how sure you are</dd>
<dt><kbd>U</kbd></dt><dd>undo your last verdict</dd>
<dt><kbd>P</kbd></dt><dd>pause: hides the snippets and stops the time</dd></dl>
<button type="button" class="go" data-do="start">Go on</button></div>
<div class="work"><ol class="snippets" tabindex="0" aria-label="Snippets"></ol>
<div class="answer">
<label for="rule">The rule, in words (optional) <kbd>/</kbd></label>
<textarea id="rule" rows="3" maxlength="{MOST_RULE}" spellcheck="false" autocomplete="off"></textarea>
<div role="group" aria-labelledby="sure"><span id="sure">How sure (optional)</span>
<span class="sures"><button type="button" data-do="sure" value="1" aria-pressed="false">guess <kbd>1</kbd></button>
<button type="button" data-do="sure" value="2" aria-pressed="false">likely <kbd>2</kbd></button>
<button type="button" data-do="sure" value="3" aria-pressed="false">certain <kbd>3</kbd></button></span></div>
<button type="button" class="verdict" data-do="rate" value="interpretable" aria-pressed="false">INTERPRETABLE <kbd>I</kbd></button>
<button type="button" class="verdict" data-do="rate" value="not" aria-pressed="false">NOT INTERPRETABLE <kbd>N</kbd></button>
</div></div>
<div class="rest"><h2></h2><p></p><button type="button" class="go" data-do="resume">Go on <kbd>P</kbd></button></div>
</section>""",
    css=(_HERE / "rating_card.css").read_text(encoding="utf-8"),
    js="".join(
        (_HERE / name).read_text(encoding="utf-8")
        for name in ("tokens.js", "rating_draw.js", "rating_clock.js", "rating_card.js")
    ),
)


def rating_card(study: str, rater: str, instruction: str) -> None:
    """Have a rater rate what is left of a study.

    Args:
        study: its id.
        rater: the name that the ratings are kept under.
        instruction: shown before the first card and on `?`.
    """
    _mount(key="rating", data={"study": study, "rater": rater, "instruction": instruction})
