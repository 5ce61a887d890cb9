"""The pages and the way between them: what `app.py` serves to every browser."""

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
    .st-key-keys { position: absolute; }  /* it draws nothing */
    /* What stands beside the examples stays while they are read, and scrolls by itself where it is long. */
    [data-testid="stLayoutWrapper"]:has(> .st-key-side) { position: sticky; top: 4rem; }
    .st-key-side { max-height: calc(100vh - 5rem); overflow-y: auto; flex-wrap: nowrap; }
    </style>"""
)


@st.fragment(run_every=timedelta(days=1))
def drawn_anew() -> None:
    """Draws nothing. A browser that lost the server and found it again has the page drawn anew only where a
    part of it ran last or runs by itself. Otherwise a new server would not know the page's parts, and what is
    clicked or typed in one of them would do nothing."""


drawn_anew()

st.navigation(
    [
        st.Page(
            NEURON,
            title="Neuron",
            icon=":material/adjust:",
            default=True,
            help="One neuron: its strongest examples and how often it takes which value.",
        ),
        st.Page(
            NEURONS,
            title="Neurons",
            icon=":material/table_rows:",
            url_path="neurons",
            help="All neurons of a layer: sort, filter, open one.",
        ),
        st.Page(
            LAYER,
            title="Layer",
            icon=":material/insights:",
            url_path="layer",
            help="A layer at a glance: how its neurons are spread, and all layers beside each other.",
        ),
        st.Page(
            EDITOR,
            title="Editor",
            icon=":material/edit_note:",
            url_path="editor",
            help="Type a text and see what a neuron does on it.",
        ),
        st.Page(
            LAB,
            title="Lab",
            icon=":material/science:",
            url_path="lab",
            help="Test an idea: which tokens fit it, and does the neuron fire on them?",
        ),
        st.Page(
            LABELS,
            title="Labels",
            icon=":material/label:",
            url_path="labels",
            help="What people say of neurons: search, export, import.",
        ),
        st.Page(
            MODELS,
            title="Models",
            icon=":material/folder_open:",
            url_path="models",
            help="The models found, and what is missing or damaged.",
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
