"""The sample that a part of the lab works on, or the form that makes one."""

import streamlit as st

from analysis.formatting import number
from dashboard.lab.sample_activations import Sample, available_samples, largest_ready_sample, make_sample
from dashboard.shared.catalog import ModelError
from dashboard.shared.error_message import show_error
from dashboard.shared.place import Place

_REQUESTED = "lab_requested_sample"
"""Session state: number of tokens of the sample that is being made. Another click on the page ends the run
that makes it; the next run finds this and starts again."""


def sample_or_form(place: Place) -> Sample | None:
    """Draw the size of the largest sample on disk and return it; if none, draw the form and return None."""
    ready = largest_ready_sample(place)
    larger = [s for s in available_samples(place) if ready is None or s.n_tokens > ready.n_tokens]
    if ready is None and not larger:
        st.info(
            "This part needs whole contexts, and this model's cache has no sample of them, because it was "
            "built by an early version: build the cache again."
        )
        return None
    if ready is not None:
        left, right = st.columns([3, 1], vertical_alignment="center")
        left.caption(
            f"Over {ready.n_tokens:,} tokens of {ready.n_contexts:,} contexts, chosen without regard to "
            "activation. Activations are rounded to float16."
        )
        if larger:
            with right, st.popover("A larger sample", type="tertiary"):
                _form(place, larger)
        return ready
    st.markdown(
        "This part needs activations on text that was **not chosen by its activation**. The model runs once "
        "over a sample of the corpus. Then every hypothesis and every neuron of the layer can be tested on "
        "it at once."
    )
    _form(place, larger)
    return None


def _form(place: Place, samples: list[Sample]) -> None:
    """Draw the choice of a size, its cost and the start button; or make the sample and draw progress."""
    chosen = st.selectbox(
        "Tokens", samples, index=min(1, len(samples) - 1), key="lab_size", width=260,
        format_func=lambda s: f"{s.n_tokens:,} tokens",
    )  # fmt: skip
    st.caption(
        f"Takes about {max(1, round(chosen.seconds))} s of one core, and {number(chosen.n_bytes / 1e6)} MB "
        "in this server's cache folder."
    )
    if st.session_state.get(_REQUESTED) != chosen.n_tokens:
        st.button(
            "Run the model", key="lab_run", icon=":material/play_arrow:",
            on_click=lambda: st.session_state.update({_REQUESTED: chosen.n_tokens}),
        )  # fmt: skip
        return
    bar = st.progress(0.0, "Loading the model…")
    st.button("Stop", key="lab_stop", on_click=lambda: st.session_state.pop(_REQUESTED, None))
    try:
        make_sample(place, chosen, lambda part: bar.progress(part, f"{part:.0%} of the tokens"))
    except (ModelError, OSError) as error:
        st.session_state.pop(_REQUESTED)
        show_error("The sample could not be made", error)
        return
    st.session_state.pop(_REQUESTED)
    st.rerun()
