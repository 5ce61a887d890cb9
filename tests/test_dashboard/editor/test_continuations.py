"""Continuations of a text in the editor: the part of the text that they begin from."""

import pytest

from dashboard.editor.next_tokens import N_SAMPLED, kept_tokens


@pytest.mark.parametrize(
    ("room", "n_lead", "kept"),
    [(511, 1, 511 - N_SAMPLED), (20, 0, 10), (11, 1, 5), (12, 0, 6), (2, 0, 1), (1, 1, 0), (1, 0, 1)],
)
def test_a_short_context_keeps_half_of_its_room_for_the_text(room: int, n_lead: int, kept: int) -> None:
    assert kept_tokens(room, n_lead) == kept
