"""The sample of whole contexts that the lab runs the model over: what it takes, said before it is made."""

import streamlit as st

from analysis.formatting import number
from dashboard.lab import sample_activations
from dashboard.lab.sample_activations import Sample
from dashboard.shared.catalog import ModelError
from dashboard.shared.error_message import show_problem
from dashboard.shared.place import Place

_MAKING = "lab_making"
"""Session state: how many tokens the model is being run over. It outlasts a run of the page that another
click ends early: the next run begins anew."""


def sample_for(place: Place) -> Sample | None:
    """The sample that is there, with a way to a larger one; or what it takes to make one, and None."""
    ready = sample_activations.ready(place)
    offered = [s for s in sample_activations.samples(place) if ready is None or s.n_tokens > ready.n_tokens]
    if ready is None and not offered:
        st.info(
            "This model's cache holds no sample of whole contexts, which was not asked of the first caches: "
            "build the cache again."
        )
        return None
    if ready is not None:
        left, right = st.columns([3, 1], vertical_alignment="center")
        left.caption(
            f"Over {ready.n_tokens:,} tokens of {ready.n_contexts:,} contexts that activation had no part in "
            "choosing; activations rounded to float16."
        )
        if offered:
            with right, st.popover("A larger sample", type="tertiary"):
                _offer(place, offered)
        return ready
    st.markdown(
        "This needs what the neurons do on text that was **not chosen by their activation**. The model is "
        "run once over a part of the cache's sample; every neuron of the layer and every hypothesis can "
        "then be tried on it at once."
    )
    _offer(place, offered)
    return None


def _offer(place: Place, offered: list[Sample]) -> None:
    """Choose a size, see what it takes, start."""
    chosen = st.selectbox(
        "Tokens", offered, index=min(1, len(offered) - 1), key="lab_size", width=260,
        format_func=lambda s: f"{s.n_tokens:,} tokens",
    )  # fmt: skip
    st.caption(
        f"Takes about {max(1, round(chosen.seconds))} s of one core, and {number(chosen.n_bytes / 1e6)} MB "
        "in this server's cache folder."
    )
    if st.session_state.get(_MAKING) != chosen.n_tokens:
        st.button(
            "Run the model over them", key="lab_run", icon=":material/play_arrow:",
            on_click=lambda: st.session_state.update({_MAKING: chosen.n_tokens}),
        )  # fmt: skip
        return
    bar = st.progress(0.0, "Loading the model…")
    st.button("Stop", key="lab_stop", on_click=lambda: st.session_state.pop(_MAKING, None))
    try:
        sample_activations.make(place, chosen, lambda part: bar.progress(part, f"{part:.0%} of the tokens"))
    except (ModelError, OSError) as error:
        st.session_state.pop(_MAKING)
        show_problem("The sample could not be made", error)
        return
    st.session_state.pop(_MAKING)
    st.rerun()
