"""When the neuron fires, does the text fit? Marked examples, and the share that fits at each level."""

from collections.abc import Mapping
from urllib.parse import urlencode

import numpy as np
import pandas as pd
import streamlit as st

from analysis.formatting import number, share
from analysis.hypothesis import Consistency
from analysis.intervals import difference, format_estimate
from dashboard.lab.charts import HookLevels, consistency_figure
from dashboard.lab.sample_activations import largest_ready_sample
from dashboard.lab.service import consistency_by_hook, histogram_bars, marked_examples
from dashboard.shared.components.token_view import token_view
from dashboard.shared.display_names import HOOK_LABELS, VIEW_LABELS, hook_title
from dashboard.shared.page_paths import EDITOR
from dashboard.shared.place import Place

LOW, MIDDLE, HIGH = 0.1, 0.5, 1.01
"""Shares of the neuron's maximum: activation is low from LOW to MIDDLE, and high from MIDDLE to HIGH. HIGH is
above 1, so that the maximum itself is included."""


def draw(place: Place, hypothesis: str) -> None:
    """Draw the marked examples, and the figure beside them."""
    left, right = st.columns([5, 4], gap="medium")
    with left:
        _examples(place, hypothesis)
    with right, st.container(key="side", gap="small"):
        if hypothesis:
            _shares(place, hypothesis)
        else:
            st.info(
                "Write above which tokens you think the neuron fires on. Tokens that fit are then underlined "
                "in its examples, and the share that fits is shown at every level of activation."
            )


def show_levels(place: Place, results: Mapping[str, Consistency]) -> None:
    """Draw the share that fits by level of activation: as a figure, in words and as a table.

    Args:
        results: by hook; of a hypothesis, or of judgements by hand.
    """
    drawn = {hook: result for hook, result in results.items() if result.levels}
    if not drawn:
        st.info("This neuron never fires in this cache, so there is nothing to test.")
        return
    several = len(place.cache.hooks) > 1
    panels = [_panel(place, hook, result, hook_title(hook, several)) for hook, result in drawn.items()]
    st.plotly_chart(
        consistency_figure(panels), key="lab_levels", config={"displayModeBar": False},
        alt="Histograms of activation by whether tokens fit, and the share that fits at each level",
    )  # fmt: skip
    st.caption(
        ":blue[Blue]: fits. :orange[Orange]: does not fit. The height of a bar is logarithmic; its colours "
        "divide it by the share that fits. Lines are 95% intervals."
    )
    st.markdown("  \n".join(_sentences(drawn)))
    with st.expander("Shares by level", key="lab_table"):
        for hook, result in drawn.items():
            st.caption(HOOK_LABELS[hook])
            st.table(_table(result), border="horizontal")


def _examples(place: Place, hypothesis: str) -> None:
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        view = st.segmented_control(
            "Examples", place.views, default="top", required=True, format_func=VIEW_LABELS.__getitem__,
            key="lab_view", label_visibility="collapsed", disabled=len(place.views) == 1,
        )  # fmt: skip
        examples = marked_examples(place, hypothesis, view or "top")
        if hypothesis:
            st.markdown(f"**{examples.n_fit} of {examples.n_examples} fit**", width="content")
    if not examples.n_examples:
        st.info("This neuron has no example of this kind in the cache.")
        return
    if hypothesis and examples.share in (0, 1):
        tokens = "No token" if examples.share == 0 else "Every token"
        st.warning(
            f"{tokens} of these examples fits, so the hypothesis cannot tell where this neuron fires. Try a "
            + ("wider one." if examples.share == 0 else "narrower one."),
            icon=":material/info:",
        )
    address = place.address.of_neuron.params()
    if name := token_view(examples.data, key="lab_examples", address=urlencode(address)):
        st.switch_page(EDITOR, query_params=address | {"example": name})


def _shares(place: Place, hypothesis: str) -> None:
    sample = largest_ready_sample(place)
    uses_sample = sample is not None and st.toggle(
        f"From {sample.n_tokens:,} tokens of the corpus", value=True, key="lab_wide",
        help="Instead of the few examples of every range in the cache. The intervals come from the variation "
        "between contexts, because the tokens of one context are alike.",
    )  # fmt: skip
    show_levels(place, consistency_by_hook(place, hypothesis, sample if uses_sample else None))
    if sample is None:
        st.caption(
            "From the few examples of every range in the cache, so the intervals are wide. “When the text "
            "fits, does it fire?” can run the model over more text."
        )


def _panel(place: Place, hook: str, result: Consistency, title: str) -> HookLevels:
    shares = [level.share for level in result.levels]
    ends = np.array([[s.value, s.low, s.high] for s in shares], dtype=np.float64)
    return HookLevels(title, histogram_bars(place, hook), result.edges, *ends.T)


def _sentences(results: Mapping[str, Consistency]) -> list[str]:
    """State the results in words, a sentence for each line."""
    lines = [
        f"**At {hook}**, of all tokens above 0: {format_estimate(c.overall, share)} fit. "
        f"Low activation: {format_estimate(c.mean_share(LOW, MIDDLE), share)}; "
        f"high: {format_estimate(c.mean_share(MIDDLE, HIGH), share)}."
        for hook, c in results.items()
    ]
    if len(results) == 2:
        before, after = (c.mean_share(LOW, MIDDLE) for c in results.values())
        change = difference(after, before)
        points = f"{100 * change.value:+.0f} points ({100 * change.low:+.0f} to {100 * change.high:+.0f})"
        comparison = "not significantly different from"
        if change.high < 0:
            comparison = "less than"
        elif change.low > 0:
            comparison = "more than"
        lines.append(
            f"At low activation the share after the LayerNorm is **{comparison}** before it: {points}."
        )
    lines.append(
        "Low is from 10% to 50% of the maximum, high above 50%. In these two shares every level has the "
        "same weight; in the share of all tokens, a level has the weight of its exact count."
    )
    return lines


def _table(result: Consistency) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "activation": [f"{number(v.low)} to {number(v.high)}" for v in result.levels],
            "tokens": [f"{v.count:,}" for v in result.levels],
            "examined": [f"{v.n_sampled:,}" for v in result.levels],
            "fit": [f"{v.n_fit:,}" for v in result.levels],
            "share, 95% interval": [format_estimate(v.share, share) for v in result.levels],
        }
    ).set_index("activation")
