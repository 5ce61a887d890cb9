"""Stores for the pages, each opened once in a process, in the database that SOLU_ANNOTATIONS names."""

from collections.abc import Callable
from typing import TypeVar

import streamlit as st

from dashboard.shared.annotations.content import database_url
from dashboard.shared.annotations.database import Database

_Store = TypeVar("_Store")


def open_store(kind: Callable[[Database], _Store]) -> _Store:
    """Return a store in the database of annotations, hypotheses, judgements and studies.

    Args:
        kind: the store's class, as `AnnotationStore`.

    Raises:
        AnnotationError: the database cannot be opened or written.
    """
    store: _Store = _opened(f"{kind.__module__}.{kind.__name__}", database_url(), kind)
    return store


@st.cache_resource(max_entries=16, show_spinner=False)
def _opened(name: str, url: str, _kind: Callable[[Database], _Store]) -> _Store:  # noqa: ARG001 name: the cache's key
    return _kind(_database(url))


@st.cache_resource(max_entries=4, show_spinner=False)
def _database(url: str) -> Database:
    return Database(url)
