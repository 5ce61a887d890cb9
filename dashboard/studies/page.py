"""The page of studies: a list, a form for a new one, and the number of neurons that it needs."""

import streamlit as st

from analysis.formatting import number
from analysis.rating import exact_power
from cache.format.schema import CacheError
from dashboard.shared.annotations.content import AnnotationError
from dashboard.shared.annotations.open_store import open_store
from dashboard.shared.catalog import ModelError
from dashboard.shared.display_names import HOOK_LABELS
from dashboard.shared.error_message import show_error
from dashboard.shared.messages import plain
from dashboard.shared.page_paths import RATE, STUDY
from dashboard.studies import service
from dashboard.studies.charts import power_figure
from dashboard.studies.plan.design import Design, StudyError
from dashboard.studies.service import Choice
from dashboard.studies.storage.ratings import Summary
from dashboard.studies.storage.store import StudyStore

SHADES = {"magnitude": "by strength", "rank": "by rank"}  # labels of Design.shading

_FIELDS = Design.__dataclass_fields__


def card(study: Summary) -> None:
    """Draw one study of the list, with links to its results or progress, and to rating it."""
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.markdown(f"**{plain(study.title)}**", width="stretch")
            if study.closed:
                st.badge("unblinded", icon=":material/lock_open:", color="blue")
            else:
                st.badge("blind, open", icon=":material/lock:", color="gray")
        people = "1 rater" if study.n_raters == 1 else f"{study.n_raters:,} raters"
        st.caption(
            f"Created {study.created:%Y-%m-%d %H:%M} UTC · {study.n_items:,} items per rater · {people} · "
            f"{study.n_ratings:,} ratings"
        )
        with st.container(horizontal=True, gap="medium"):
            label = "Results" if study.closed else "Progress"
            st.page_link(STUDY, label=label, icon=":material/bar_chart:", query_params={"study": study.id})
            if not study.closed:
                st.page_link(RATE, label="Rate", icon=":material/rule:", query_params={"study": study.id})


def choice_label(choice: Choice) -> str:
    """Return the label of a model and a hook."""
    return f"{choice[0]} · {HOOK_LABELS[choice[1]]}"


def new_study() -> None:
    """Draw the form for a new study, and the button that creates it."""
    choices = service.choices()
    if len(choices) < 2:
        st.info(
            "A study compares two models or more. Each needs a cache, and all caches must be over the same "
            "text. The page Models shows what is missing."
        )
        return
    title = st.text_input(
        "Title", key="study_title", max_chars=120, placeholder="Shown to raters: name no model in it"
    )
    chosen = st.multiselect(
        "Models, each before or after its LayerNorm", list(choices), format_func=choice_label,
        key="study_models", placeholder="Two or more", max_selections=8,
    )  # fmt: skip
    common = service.common_layers([choices[choice] for choice in chosen])
    layers: list[int] = []
    if len(common) > 1:
        layers = st.multiselect("Layers", common, key="study_layers", placeholder="All layers in each cache")
    with st.container(horizontal=True, gap="small"):
        n_neurons = _whole("Neurons per model", "n_neurons", 1, 2000, "The paper used 60.")
        n_repeats = _whole(
            "Shown twice", "n_repeats", 0, 1000,
            "Neurons, over all models, that are shown a second time to see if raters agree with themselves.",
        )  # fmt: skip
        n_checks = _whole(
            "Attention checks", "n_checks", 0, 1000,
            "Items with a known answer: half show one word, half follow no rule.",
        )  # fmt: skip
        n_snippets = _whole(
            "Snippets", "n_snippets", 1, 100, "Number of strongest examples shown for each neuron."
        )
        seed = _whole(
            "Seed", "seed", 0, 2**53 - 1,
            "Determines the neurons and, with a secret, the order for each rater.",
        )  # fmt: skip
    shading = st.segmented_control(
        "Shades of red", list(SHADES), format_func=lambda s: SHADES[s], default="magnitude",
        key="study_shading", required=True,
        help="By strength, as in the paper: a GELU neuron is pale on most tokens and a SoLU neuron is red on "
        "few, so a rater who knows this can tell the models apart. By rank: only the three strongest tokens "
        "of a snippet are shaded, in the same way for every neuron.",
    )  # fmt: skip
    n_items = max(2, len(chosen)) * n_neurons + n_repeats + n_checks
    st.caption(
        f"{n_items:,} items per rater: about {n_items * 1.5 / 60:.1f} hours at 90 seconds each. "
        "Dead neurons are left out: their largest activation over the corpus is below "
        f"{number(100 * float(_FIELDS['min_firing'].default), 1)}% of their layer's median. "
        "The plan is saved before the first rating, with a hash of the key that assigns items to neurons."
    )
    ready = bool(title.strip()) and len(chosen) > 1
    if st.button(
        "Create the study", icon=":material/lock:", key="study_create", disabled=not ready,
        help="Enter a title and choose two models first." if not ready else None,
    ):  # fmt: skip
        bar = st.progress(0.0, "Drawing neurons and cutting their snippets…")
        try:
            study = service.create(
                [(choices[choice], choice[1]) for choice in chosen], layers,
                lambda part: bar.progress(part, "Drawing neurons and cutting their snippets…"),
                title=title, n_neurons=n_neurons, n_repeats=n_repeats, n_checks=n_checks,
                n_snippets=n_snippets, seed=seed, shading=shading,
            )  # fmt: skip
        except (StudyError, AnnotationError, ModelError, CacheError) as error:
            bar.empty()
            show_error("This study was not created", error)
            return
        st.switch_page(STUDY, query_params={"study": study})


def _whole(label: str, name: str, least: int, most: int, help_text: str) -> int:
    default = int(_FIELDS[name].default)
    return int(
        st.number_input(label, least, most, default, step=1, key=f"study_{name}", help=help_text, width=124)
    )


def sample_size() -> None:
    """Draw the number of neurons that it takes to see a difference between two models."""
    st.markdown("##### How many neurons are needed?")
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        p1 = st.number_input("First model, in %", 0, 100, 35, key="study_p1", width=115)
        p2 = st.number_input("Second model, in %", 0, 100, 60, key="study_p2", width=115)
        power = st.number_input("Power, in %", 50, 99, 80, key="study_power", width=130)
    if p1 == p2:
        st.info("There is no difference between equal shares. Choose different ones.")
        return
    n, curve = service.sample_size(p1 / 100, p2 / 100, power / 100)
    if n is None:
        st.info("More than 2,000 neurons per model.")
    else:
        st.markdown(
            f"**{n:,} neurons per model** show a difference between {p1}% and {p2}% interpretable neurons "
            f"with {power}% power at the 5% level, by the exact test on one rater's verdicts."
        )
    st.plotly_chart(
        power_figure(curve, power / 100, n), key="study_power_curve", config={"displayModeBar": False},
        alt=f"Power of 2 to {curve[-1][0]} neurons per model",
    )  # fmt: skip
    if n is not None and n > 60:
        at_60 = exact_power(60, p1 / 100, p2 / 100)
        st.caption(f"With the paper's 60 neurons per model: {number(100 * at_60, 2)}% power.")


def page() -> None:
    """Draw the list of studies, and the form for a new one."""
    st.subheader("Studies", anchor=False)
    st.caption(
        "A study shows raters the neurons of two models or more, shuffled and without the models' names. "
        "Raters decide for each neuron whether one rule explains 80% or more of its strongest firings, as in "
        "the paper. The models are named when the study is unblinded."
    )
    try:
        studies = open_store(StudyStore).studies()
    except AnnotationError as error:
        show_error("Studies cannot be read", error)
        return
    for study in studies:
        card(study)
    if not studies:
        st.info("No study yet. Plan the first one below.")
    with st.expander("New study", expanded=not studies, icon=":material/add:", key="study_new"):
        left, right = st.columns([3, 2], gap="large")
        with left:
            new_study()
        with right:
            sample_size()


page()
