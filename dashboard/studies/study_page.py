"""One rating study: how far its raters are, its unblinding, and then its results."""

from urllib.parse import urlencode, urlsplit, urlunsplit

import pandas as pd
import streamlit as st

from analysis.formatting import number
from dashboard.shared.annotations.content import AnnotationError
from dashboard.shared.annotations.open_store import open_store
from dashboard.shared.error_message import show_problem
from dashboard.shared.messages import plain
from dashboard.shared.page_paths import RATE, STUDIES
from dashboard.shared.user_name import ask_name, remember_name, user_name
from dashboard.studies.findings import findings
from dashboard.studies.plan.design import StudyError, digest
from dashboard.studies.storage.export import PREREGISTRATION
from dashboard.studies.storage.ratings import Summary
from dashboard.studies.storage.store import StudyStore


def invitation(study: Summary) -> None:
    """The address to send to raters."""
    here = urlsplit(st.context.url or "")
    path = here.path.rsplit("/", 1)[0] + "/rate"
    st.markdown("Send this address to raters. Each says a name, and gets an order of their own:")
    st.code(
        urlunsplit((here.scheme, here.netloc, path, urlencode({"study": study.id}), "")),
        language=None,
        wrap_lines=True,
    )


def registration(store: StudyStore, study: Summary) -> None:
    """What was stored before the first rating, with its hash."""
    data = store.preregistration(study.id)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.download_button(
            "Pre-registration (JSON)", data, f"{study.id}-{PREREGISTRATION}", "application/json",
            key="study_registration", icon=":material/download:", on_click="ignore",
        )  # fmt: skip
        st.caption(f"SHA-256 `{digest(data)}`")
    st.caption(
        "Publish the hash before the first rating: it binds the design, and through it which item is which "
        "neuron, though the file does not say so."
    )


def progress(store: StudyStore, study: Summary) -> None:
    """How far everyone is: nothing by model."""
    found, checks = store.progress(study.id), store.checks_passed(study.id)
    if not found:
        st.info("Nobody has rated yet.")
        return
    rows = pd.DataFrame(
        {
            "rater": list(found),
            "done": [100 * p.done / p.total for p in found.values()],
            "items": [f"{p.done:,} of {p.total:,}" for p in found.values()],
            "minutes": [p.seconds / 60 for p in found.values()],
            "seconds": [p.seconds / max(p.done, 1) for p in found.values()],
            "checks": ["{} of {}".format(*checks[rater]) for rater in found],
        }
    )
    st.dataframe(
        rows, key="study_progress", hide_index=True, row_height=30,
        column_config={
            "rater": st.column_config.TextColumn(width=160),
            "done": st.column_config.ProgressColumn(format="%.0f%%", min_value=0, max_value=100),
            "items": st.column_config.TextColumn(width=100),
            "minutes": st.column_config.NumberColumn("minutes in all", format="%.0f", width=100),
            "seconds": st.column_config.NumberColumn("seconds an item", format="%.0f", width=110),
            "checks": st.column_config.TextColumn("checks passed", width=110),
        },
    )  # fmt: skip
    total = sum(p.seconds for p in found.values())
    st.caption(
        f"{study.n_ratings:,} ratings, {number(total / 3600, 2)} hours in all. Until it is unblinded "
        "nothing is counted by model."
    )


def unblinding(store: StudyStore, study: Summary) -> None:
    """The deliberate act that ends a study."""
    with st.expander("Unblind and end the study", icon=":material/lock_open:", key="study_end"):
        st.warning(
            "This ends the ratings for good and shows which neuron is whose. It cannot be taken back.",
            icon=":material/warning:",
        )
        user = user_name()
        if not user:
            ask_name("kept as who unblinded")
            return
        remember_name()
        typed = st.text_input(
            "To go on, type the study's title", key="study_typed", placeholder=study.title, live="250ms"
        )
        fits = " ".join((typed or "").split()) == " ".join(study.title.split())
        if st.button("Unblind", key="study_unblind", disabled=not fits):
            try:
                store.unblind(study.id, user)
            except (StudyError, AnnotationError) as error:
                show_problem("The study was not unblinded", error)
                return
            st.rerun()


def page() -> None:
    """The study that the address names."""
    try:
        store = open_store(StudyStore)
        study = store.summary(st.query_params.get("study", ""))
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.subheader(plain(study.title), anchor=False, width="stretch")
            st.page_link(STUDIES, label="All studies", icon=":material/arrow_back:", query_params={})
        st.caption(
            f"{study.n_items:,} items a rater · created {study.created:%Y-%m-%d %H:%M} UTC · "
            + (f"unblinded {study.closed:%Y-%m-%d %H:%M} UTC" if study.closed else "blind")
        )
        if study.closed:
            findings(store, study)
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
        with st.expander("What was registered", icon=":material/lock:", key="study_registered"):
            registration(store, study)
    except StudyError as error:
        show_problem("This address opens no study", error)
        st.page_link(STUDIES, label="All studies", icon=":material/arrow_back:", query_params={})
    except AnnotationError as error:
        show_problem("Studies cannot be read", error)


page()
