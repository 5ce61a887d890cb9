"""Shades of red by rank: the same few on every card."""

import json
from collections.abc import Callable

import numpy as np
import pytest

from dashboard.studies.plan.design import StudyError
from dashboard.studies.plan.snippets import RANKS, Snippet, steps_of
from dashboard.studies.storage.store import StudyStore


def snippet(*activations: float) -> Snippet:
    return Snippet(np.arange(len(activations), dtype=np.int32), np.array(activations, dtype=np.float32), 0)


def test_ranks_do_not_say_how_strong_a_firing_is() -> None:
    weak, strong = snippet(0.1, 0.3, -1.0, 0.2, 0.05), snippet(1.0, 300.0, -9.0, 2.0, 0.5)
    assert steps_of([weak], "rank").tolist() == [[3, 15, 0, 7, 0]]
    assert steps_of([weak, strong], "rank").tolist() == [[3, 15, 0, 7, 0]] * 2
    assert steps_of([weak, strong], "magnitude").tolist() == [[0, 0, 0, 0, 0], [0, 15, 0, 0, 0]]


@pytest.mark.parametrize(
    ("activations", "steps"),
    [
        ((-1.0, -2.0, 0.0), [0, 0, 0]),  # nothing fires: nothing is red
        ((0.5, -2.0, 0.0), [15, 0, 0]),
        ((1.0, 1.0, 1.0, 1.0), [15, 7, 3, 0]),  # the first of equals
        ((2.0,), [15]),  # shorter than there are ranks
    ],
)
def test_only_what_fires_is_red(activations: tuple[float, ...], steps: list[int]) -> None:
    assert steps_of([snippet(*activations)], "rank").tolist() == [steps]


def test_a_study_by_rank_has_no_other_steps(make_study: Callable[..., tuple[StudyStore, str]]) -> None:
    store, study = make_study(shading="rank")
    assert store.design(study).shading == "rank"
    item = store.next_item(study, "ann")
    assert item is not None
    card = json.loads(store.card(study, item))
    for shown in card["snippets"]:
        assert max(shown["s"]) == RANKS[0]
        assert set(shown["s"]) <= {0, *RANKS}
    with pytest.raises(StudyError, match="shading"):
        make_study(shading="loud")
