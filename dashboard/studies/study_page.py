"""The page of one study: the raters' progress and the unblinding, and after it the results."""

from urllib.parse import urlencode, urlsplit, urlunsplit

import pandas as pd
import streamlit as st

from analysis.formatting import number
from dashboard.shared.annotations.content import AnnotationError
from dashboard.shared.annotations.open_store import open_store
from dashboard.shared.error_message import show_error
from dashboard.shared.messages import plain
from dashboard.shared.page_paths import RATE, STUDIES
from dashboard.shared.user_name import ask_name, remember_name, user_name
from dashboard.studies.plan.design import StudyError, digest
from dashboard.studies.results import draw_results
from dashboard.studies.storage.export import PREREGISTRATION
from dashboard.studies.storage.ratings import Summary
from dashboard.studies.storage.store import StudyStore


def invitation(study: Summary) -> None:
    """Draw the address to send to raters."""
    here = urlsplit(st.context.url or "")
    path = here.path.rsplit("/", 1)[0] + "/rate"
    st.markdown(
        "Send this address to raters. Each rater enters a name and sees the neurons in a different order:"
    )
    st.code(
        urlunsplit((here.scheme, here.netloc, path, urlencode({"study": study.id}), "")),
        language=None,
        wrap_lines=True,
    )


def registration(store: StudyStore, study: Summary) -> None:
    """Draw the download of the pre-registration, with its hash."""
    data = store.preregistration(study.id)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.download_button(
            "Pre-registration (JSON)", data, f"{study.id}-{PREREGISTRATION}", "application/json",
            key="study_registration", icon=":material/download:", on_click="ignore",
        )  # fmt: skip
        st.caption(f"SHA-256 `{digest(data)}`")
    st.caption(
        "Publish the hash before the first rating. It fixes the design and the neurons: a change of either "
        "would change the hash. The file does not tell which item is which neuron."
    )


def progress(store: StudyStore, study: Summary) -> None:
    """Draw everyone's progress, without anything by model."""
    by_rater, checks = store.progress(study.id), store.checks_passed(study.id)
    if not by_rater:
        st.info("Nobody has rated yet.")
        return
    rows = pd.DataFrame(
        {
            "rater": list(by_rater),
            "done": [100 * p.done / p.total for p in by_rater.values()],
            "items": [f"{p.done:,} of {p.total:,}" for p in by_rater.values()],
            "minutes": [p.seconds / 60 for p in by_rater.values()],
            "seconds": [p.seconds / max(p.done, 1) for p in by_rater.values()],
            "checks": ["{} of {}".format(*checks[rater]) for rater in by_rater],
        }
    )
    st.dataframe(
        rows, key="study_progress", hide_index=True, row_height=30,
        column_config={
            "rater": st.column_config.TextColumn(width=160),
            "done": st.column_config.ProgressColumn(format="%.0f%%", min_value=0, max_value=100),
            "items": st.column_config.TextColumn(width=100),
            "minutes": st.column_config.NumberColumn("total minutes", format="%.0f", width=100),
            "seconds": st.column_config.NumberColumn("seconds per item", format="%.0f", width=110),
            "checks": st.column_config.TextColumn("checks passed", width=110),
        },
    )  # fmt: skip
    total = sum(p.seconds for p in by_rater.values())
    st.caption(
        f"{study.n_ratings:,} ratings in {number(total / 3600, 2)} hours. Nothing is counted by model until "
        "the study is unblinded."
    )


def unblinding(store: StudyStore, study: Summary) -> None:
    """Draw the form that unblinds and ends a study."""
    with st.expander("Unblind and end the study", icon=":material/lock_open:", key="study_end"):
        st.warning(
            "This ends the ratings for good and shows each neuron's model. It cannot be undone.",
            icon=":material/warning:",
        )
        user = user_name()
        if not user:
            ask_name("to record who unblinded")
            return
        remember_name()
        typed = st.text_input(
            "To continue, type the study's title", key="study_typed", placeholder=study.title, live="250ms"
        )
        is_title = " ".join((typed or "").split()) == " ".join(study.title.split())
        if st.button("Unblind", key="study_unblind", disabled=not is_title):
            try:
                store.unblind(study.id, user)
            except (StudyError, AnnotationError) as error:
                show_error("The study was not unblinded", error)
                return
            st.rerun()


def page() -> None:
    """Draw the study in the address."""
    try:
        store = open_store(StudyStore)
        study = store.summary(st.query_params.get("study", ""))
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.subheader(plain(study.title), anchor=False, width="stretch")
            st.page_link(STUDIES, label="All studies", icon=":material/arrow_back:", query_params={})
        st.caption(
            f"{study.n_items:,} items per rater · created {study.created:%Y-%m-%d %H:%M} UTC · "
            + (f"unblinded {study.closed:%Y-%m-%d %H:%M} UTC" if study.closed else "blind")
        )
        if study.closed:
            draw_results(store, study)
        else:
            left, right = st.columns([3, 2], gap="large")
            with left:
                progress(store, study)
                unblinding(store, study)
            with right:
                invitation(study)
                st.page_link(
                    RATE, label="Rate it yourself", icon=":material/rule:", query_params={"study": study.id}
                )
                registration(store, study)
            return
        with st.expander("Pre-registration", icon=":material/lock:", key="study_registered"):
            registration(store, study)
    except StudyError as error:
        show_error("This address opens no study", error)
        st.page_link(STUDIES, label="All studies", icon=":material/arrow_back:", query_params={})
    except AnnotationError as error:
        show_error("Studies cannot be read", error)


page()
