"""The page for raters: a name, then card after card. Nothing on it tells the model."""

import streamlit as st

from dashboard.shared.annotations.content import AnnotationError
from dashboard.shared.annotations.open_store import open_store
from dashboard.shared.error_message import show_error
from dashboard.shared.user_name import ask_name, remember_name, user_name
from dashboard.studies.components.rating_card import rating_card
from dashboard.studies.plan.design import StudyError
from dashboard.studies.storage.store import StudyStore


def page() -> None:
    """Draw the next card, or the reason why there is none."""
    study = st.query_params.get("study", "")
    try:
        store = open_store(StudyStore)
        summary, instruction = store.summary(study), store.design(study).instruction
    except StudyError as error:
        show_error("This study cannot be rated", error)
        return
    except AnnotationError as error:
        show_error("Studies cannot be read", error)
        return
    if summary.closed:
        st.info("This study is closed and takes no more ratings. Thank you for coming.")
        return
    rater = user_name()
    if not rater:
        st.subheader("Rate", anchor=False)
        ask_name("to save your ratings")
        return
    remember_name()
    rating_card(study, rater, instruction)


st.set_page_config("Rate")
page()
