"""Studies for the pages: results kept between reruns, and new studies of the models here."""

from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st

from analysis.rating import Results, compute_results, exact_power, neurons_needed, ratings_from_rows
from analysis.rating.ratings import side_name
from cache.format.schema import CacheError
from dashboard.shared import places
from dashboard.shared.annotations.content import database_url
from dashboard.shared.annotations.open_store import open_store
from dashboard.shared.catalog import ModelError, ModelFolder
from dashboard.studies.charts import SideStyle
from dashboard.studies.charts import side_styles as styles_of
from dashboard.studies.plan.cards import make_cards
from dashboard.studies.plan.design import Design, StudyError, new_design
from dashboard.studies.plan.sampling import draw, require_same_text, side_of
from dashboard.studies.storage.export import rating_rows
from dashboard.studies.storage.store import StudyStore

WINDOW = (16, 8)
"""Tokens before and after a snippet's peak, where the caches hold that many."""

Choice = tuple[str, str]
"""A model's name and a hook."""


def results_of(study: str) -> Results:
    """Return the results of an unblinded study.

    Raises:
        StudyError: the study is blind, or does not exist.
    """
    open_store(StudyStore).key(study)  # refuses a blind study
    return _results(database_url(), study)


@st.cache_resource(max_entries=16, show_spinner="Computing the results…")
def _results(url: str, study: str) -> Results:  # noqa: ARG001 the key; a closed study does not change
    store = open_store(StudyStore)
    design = store.design(study)
    rows = rating_rows(design, store.ratings(study), store.key(study))
    return compute_results(ratings_from_rows(rows), side_names(design))


def side_names(design: Design) -> list[str]:
    """Return the names of the sides in results, in their order."""
    models = [side.model for side in design.sides]
    return [side_name(s.model, s.hook, twice=models.count(s.model) > 1) for s in design.sides]


def side_styles(design: Design) -> list[SideStyle]:
    """Return the looks of the sides in figures: their models' colours, as on every page."""
    return styles_of([side.model for side in design.sides], places.models())


def choices() -> dict[Choice, ModelFolder]:
    """Return every model with a readable cache, once for each of its hooks."""
    by_choice: dict[Choice, ModelFolder] = {}
    for model in places.models():
        if model.has_cache:
            try:
                cache = places.cache_of(model)
            except (ModelError, CacheError):
                continue
            by_choice |= {(model.name, hook): model for hook in cache.hooks}
    return by_choice


def common_layers(models: Sequence[ModelFolder]) -> list[int]:
    """Return the layers that the caches of all these models hold."""
    layers = [set(places.cache_of(model).layers) for model in models]
    return sorted(set.intersection(*layers)) if layers else []


def create(
    chosen: Sequence[tuple[ModelFolder, str]],
    layers: Sequence[int],
    progress: Callable[[float], object],
    **fields: Any,
) -> str:
    """Draw the neurons of a study, make its cards and save it.

    Args:
        chosen: models, each with a hook.
        layers: to draw from; without any, all that a cache holds.
        progress: called with the part that is done, 0 to 1.
        fields: of the design.

    Returns:
        The study's id.

    Raises:
        StudyError: these models and fields make no study.
        ModelError, CacheError: a cache cannot be read.
        AnnotationError: the database cannot be written.
    """
    title = str(fields.get("title", "")).casefold()
    if named := next((m.name for m, _ in chosen if m.name.casefold() in title), ""):
        raise StudyError(
            f"the title names the model {named}, and raters may read it: choose a title that names no model"
        )
    caches = [places.cache_of(model) for model, _ in chosen]
    require_same_text(caches)
    sides = [side_of(m.name, c, hook, layers) for (m, hook), c in zip(chosen, caches, strict=True)]
    window = {
        "n_before": min(WINDOW[0], *(c.manifest.window_before for c in caches)),
        "n_after": min(WINDOW[1], *(c.manifest.window_after for c in caches)),
    }
    plan = draw(new_design(sides=tuple(sides), **window, **fields), caches)
    n_done = 0

    def advance(n: int) -> None:
        nonlocal n_done
        n_done += n
        progress(n_done / len(plan.items))

    return open_store(StudyStore).create(plan, make_cards(plan, caches, advance))


@st.cache_data(max_entries=64, show_spinner=False)
def sample_size(p1: float, p2: float, power: float) -> tuple[int | None, list[tuple[int, float]]]:
    """Return the neurons per model that a study needs, and the power of other numbers, for a figure.

    Args:
        p1: share of interpretable neurons of one model, 0 to 1.
        p2: of the other model.
        power: chance that the exact test sees the difference, 0 to 1.

    Returns:
        The number, None above 2,000; and points (number, power).

    Raises:
        ValueError: see `neurons_needed`.
    """
    n = neurons_needed(p1, p2, power)
    most = min(2 * n, 600) if n else 600
    step = max(1, most // 40)
    return n, [(k, exact_power(k, p1, p2)) for k in range(2, most + 1, step)]
