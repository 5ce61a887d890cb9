"""The pages and their navigation: the script that `app.py` runs for every browser."""

from datetime import timedelta
from pathlib import Path

import streamlit as st

from dashboard.shared.page_paths import (
    EDITOR,
    LAB,
    LABELS,
    LAYER,
    MODELS,
    NEURON,
    NEURONS,
    RATE,
    STUDIES,
    STUDY,
)

# An icon by name would be fetched from another server at every visit.
st.set_page_config("SoLU Explorer", str(Path(__file__).parent / "icon.png"), layout="wide")

st.html(
    """<style>
    .stMainBlockContainer { padding-left: 2rem; padding-right: 2rem; }
    /* Streamlit's captions and names of keys are fainter than 4.5 to 1. */
    button kbd { opacity: 0.8 !important; }
    [data-testid="stCaptionContainer"] { color: inherit; opacity: 0.8; }
    [data-testid="stCaptionContainer"] code { color: inherit; }
    .st-key-keys { position: absolute; }  /* draws nothing, and must take no room */
    /* The column beside the examples stays in view, and scrolls by itself if it is long. */
    [data-testid="stLayoutWrapper"]:has(> .st-key-side) { position: sticky; top: 4rem; }
    .st-key-side { max-height: calc(100vh - 5rem); overflow-y: auto; flex-wrap: nowrap; }
    </style>"""
)


@st.fragment(run_every=timedelta(days=1))
def rerun_on_reconnect() -> None:
    """Force a full rerun after a server restart, so that widgets keep working.

    A browser that reconnects reruns the page only if a fragment ran last or runs by itself. Without a rerun,
    the new server does not know the page's widgets, and clicks do nothing. The fragment draws nothing.
    """


rerun_on_reconnect()

st.navigation(
    [
        st.Page(
            NEURON,
            title="Neuron",
            icon=":material/adjust:",
            default=True,
            help="One neuron: its examples, its histograms, and what it does to the output.",
        ),
        st.Page(
            NEURONS,
            title="Neurons",
            icon=":material/table_rows:",
            url_path="neurons",
            help="All neurons of a layer: search, filter, sort, open one.",
        ),
        st.Page(
            LAYER,
            title="Layer",
            icon=":material/insights:",
            url_path="layer",
            help="Distributions over the neurons of a layer, and all layers side by side.",
        ),
        st.Page(
            EDITOR,
            title="Editor",
            icon=":material/edit_note:",
            url_path="editor",
            help="Edit a text and watch a neuron's activations follow.",
        ),
        st.Page(
            LAB,
            title="Lab",
            icon=":material/science:",
            url_path="lab",
            help="Test a hypothesis: which tokens fit it, and does the neuron fire on them?",
        ),
        st.Page(
            LABELS,
            title="Labels",
            icon=":material/label:",
            url_path="labels",
            help="Labels, notes and verdicts on neurons: search, export, import.",
        ),
        st.Page(
            MODELS,
            title="Models",
            icon=":material/folder_open:",
            url_path="models",
            help="The models, how they were trained, and what is missing or damaged.",
        ),
        st.Page(
            STUDIES,
            title="Studies",
            icon=":material/ballot:",
            url_path="studies",
            help="Blinded rating: which model's neurons follow one rule?",
        ),
        st.Page(STUDY, title="Study", url_path="study", visibility="hidden"),
        st.Page(RATE, title="Rate", url_path="rate", visibility="hidden"),
    ],
    position="top",
).run()
