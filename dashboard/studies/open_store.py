"""Rating studies for the pages: their store, opened once, in the database of the labels."""

import streamlit as st

from dashboard.shared.annotations import content
from dashboard.shared.annotations.database import Database
from dashboard.studies.storage.store import StudyStore


def store() -> StudyStore:
    """The studies that are kept.

    Raises:
        AnnotationError: the database cannot be opened.
    """
    return _store(content.database_url())


@st.cache_resource(max_entries=4, show_spinner=False)
def _store(url: str) -> StudyStore:
    return StudyStore(Database(url, keeps="studies"))
