"""Given that the neuron fires, is it that? Its examples with what fits marked, and the share by level."""

from collections.abc import Mapping
from urllib.parse import urlencode

import numpy as np
import pandas as pd
import streamlit as st

from analysis.formatting import number, share
from analysis.hypothesis import Consistency
from analysis.intervals import Estimate, difference
from dashboard.lab import sample_activations
from dashboard.lab import service as lab
from dashboard.lab.charts import HookLevels, consistency_figure
from dashboard.shared.components.token_view import token_view
from dashboard.shared.display_names import HOOK_LABELS, VIEW_LABELS, hook_title
from dashboard.shared.page_paths import EDITOR
from dashboard.shared.place import Place

LOW, MIDDLE, HIGH = 0.1, 0.5, 1.01
"""Parts of the maximum between which activation is called low, and high."""


def draw(place: Place, text: str) -> None:
    """The examples and the figure beside them."""
    left, right = st.columns([5, 4], gap="medium")
    with left:
        _examples(place, text)
    with right, st.container(key="side", gap="small"):
        if text:
            _shares(place, text)
        else:
            st.info(
                "Write above what you think the neuron fires on. What fits is then underlined in its "
                "examples, and counted at every level of activation."
            )


def show_levels(place: Place, found: Mapping[str, Consistency]) -> None:
    """The figure, what it says in words, and its numbers; also for judgements by hand."""
    shown = {hook: c for hook, c in found.items() if c.levels}
    if not shown:
        st.info("The neuron is never above 0 in this cache, so that there is nothing to look at.")
        return
    several = len(place.cache.hooks) > 1
    figure = consistency_figure([_panel(place, h, c, hook_title(h, several)) for h, c in shown.items()])
    st.plotly_chart(
        figure, key="lab_levels", config={"displayModeBar": False},
        alt="Histograms of activation by whether tokens fit, and the share that fits at each level",
    )  # fmt: skip
    st.caption(
        ":blue[Blue] fits, :orange[orange] does not. Bars are logarithmic, their colours shares; "
        "lines are 95% intervals."
    )
    st.markdown("  \n".join(_words(shown)))
    with st.expander("Shares by level", key="lab_table"):
        for hook, consistency in shown.items():
            st.caption(HOOK_LABELS[hook])
            st.table(_table(consistency), border="horizontal")


def said(estimate: Estimate) -> str:
    """An estimate with its interval, as it is read."""
    return f"{share(estimate.value)} ({share(estimate.low)} to {share(estimate.high)})"


def _examples(place: Place, text: str) -> None:
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        view = st.segmented_control(
            "Examples", place.views, default="top", required=True, format_func=VIEW_LABELS.__getitem__,
            key="lab_view", label_visibility="collapsed", disabled=len(place.views) == 1,
        )  # fmt: skip
        preview = lab.preview(place, text, view or "top")
        if text:
            st.markdown(f"**{preview.n_fit} of {preview.n_examples} fit**", width="content")
    if not preview.n_examples:
        st.info("No example of this kind.")
        return
    if text and preview.share in (0, 1):
        what = "No token" if preview.share == 0 else "Every token"
        st.warning(
            f"{what} of these examples fits, also beside the peaks: the hypothesis tells nothing apart here.",
            icon=":material/info:",
        )
    address = place.address.with_(view=None, panel=None, range=None, beside=None).params()
    if name := token_view(preview.data, key="lab_examples", address=urlencode(address)):
        st.switch_page(EDITOR, query_params=address | {"example": name})


def _shares(place: Place, text: str) -> None:
    sample = sample_activations.ready(place)
    wide = sample is not None and st.toggle(
        f"From {sample.n_tokens:,} tokens of the corpus", value=True, key="lab_wide",
        help="In place of the few examples that the cache keeps of every range. Their intervals come from "
        "how much texts differ, since tokens of one text are alike.",
    )  # fmt: skip
    show_levels(place, lab.examine(place, text, sample if wide else None))
    if sample is None:
        st.caption(
            "From the few examples that the cache keeps of every range: hence the wide intervals. "
            "“Given that, does it fire?” runs the model over more text."
        )


def _panel(place: Place, hook: str, found: Consistency, title: str) -> HookLevels:
    shares = [level.share for level in found.levels]
    values = np.array([[s.value, s.low, s.high] for s in shares], dtype=np.float64)
    return HookLevels(title, lab.bars(place, hook), found.edges, *values.T)


def _words(found: Mapping[str, Consistency]) -> list[str]:
    """What the figure says, a line each."""
    lines = [
        f"**At {hook}**, of all tokens above 0: {said(c.overall)} fit. "
        f"Low activation: {said(c.mean_share(LOW, MIDDLE))}; high: {said(c.mean_share(MIDDLE, HIGH))}."
        for hook, c in found.items()
    ]
    if len(found) == 2:
        before, after = (c.mean_share(LOW, MIDDLE) for c in found.values())
        change = difference(after, before)
        points = f"{100 * change.value:+.0f} points ({100 * change.low:+.0f} to {100 * change.high:+.0f})"
        than = "less than" if change.high < 0 else "more than" if change.low > 0 else "not surely other than"
        lines.append(f"At low activation the share after the LayerNorm is **{than}** before it: {points}.")
    lines.append(
        "Low is from 10% to 50% of the maximum, high what is above; each level counts alike there, while the "
        "share of all tokens weighs levels by their exact counts."
    )
    return lines


def _table(found: Consistency) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "activation": [f"{number(v.low)} to {number(v.high)}" for v in found.levels],
            "tokens": [f"{v.count:,}" for v in found.levels],
            "looked at": [f"{v.n_sampled:,}" for v in found.levels],
            "fit": [f"{v.n_fit:,}" for v in found.levels],
            "share, 95% interval": [said(v.share) for v in found.levels],
        }
    ).set_index("activation")
