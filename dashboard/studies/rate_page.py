"""Rating a study: a name, then card after card. Nothing here says which model a card is of."""

import streamlit as st

from dashboard.shared.annotations import service as annotations
from dashboard.shared.annotations.content import AnnotationError
from dashboard.shared.error_message import show_problem
from dashboard.shared.user_name import ask_name, keep_said_name
from dashboard.studies import open_store as studies
from dashboard.studies.components.rating_card import rating_card
from dashboard.studies.plan.design import StudyError


def page() -> None:
    """The card to rate, or what is in the way."""
    study = st.query_params.get("study", "")
    try:
        store = studies.store()
        summary, instruction = store.summary(study), store.design(study).instruction
    except StudyError as error:
        show_problem("This study cannot be rated", error)
        return
    except AnnotationError as error:
        show_problem("Studies cannot be read", error)
        return
    if summary.closed:
        st.info("This study is closed: it takes no more ratings. Thank you for looking in.")
        return
    rater = annotations.user_name()
    if not rater:
        st.subheader("Rate", anchor=False)
        ask_name("to rate under")
        return
    keep_said_name()
    rating_card(study, rater, instruction)


st.set_page_config("Rate")
page()
