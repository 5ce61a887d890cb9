"""Annotations of the neuron: one's own star, verdict, label and note, those of others, the history."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import streamlit as st

from analysis.formatting import shorten
from dashboard.neuron.service import NeuronFacts
from dashboard.shared.annotations import service as annotations
from dashboard.shared.annotations.content import VERDICTS, Annotation, AnnotationError, Content, Key, Revision
from dashboard.shared.error_message import show_error
from dashboard.shared.messages import plain
from dashboard.shared.place import Place
from dashboard.shared.saved_hypotheses import hypothesis_links
from dashboard.shared.user_name import ask_name, remember_name, set_user_name, user_name

_SHOWN = 50
"""Maximum number of changes shown in the history."""

_LENGTH = 60
"""Maximum number of characters of a label or note shown in the history."""

_OUTCOME = "notes_outcome"
"""Session state: the outcome of the last change."""


@dataclass(frozen=True)
class _Outcome:
    """Outcome of a change: when it was saved, or why not."""

    key: Key
    text: str
    failed: bool = False


def draw(place: Place, facts: NeuronFacts) -> None:
    """Draw fields that save when they change, then the annotations of others."""
    try:
        everyone = annotations.of_place(place)
        history = annotations.store().history(annotations.key_of(place))
    except AnnotationError as error:
        show_error("Labels cannot be read", error)
        return
    me = user_name()
    if me:
        mine = next((a.content for a in everyone if a.user == me), Content())
        _fields(place, mine)
        _status(place, me)
    else:
        ask_name("to label this neuron")
    for annotation in everyone:
        if annotation.user != me:
            _other(annotation)
    hypothesis_links(place)
    if history:
        with st.expander(f"History, {len(history):,} change{'s' * (len(history) > 1)}", key="notes_history"):
            st.caption("  \n".join(_change(revision) for revision in history[:_SHOWN]))


def _fields(place: Place, mine: Content) -> None:
    """Draw star, verdict, label and note. A value that could not be saved stays in its field."""
    remember_name()
    name = f"{place.model.name}_{place.layer}_{place.neuron}"
    keys = {part: f"notes_{part}_{name}" for part in ("star", "verdict", "label", "note")}
    outcome = _outcome(place)
    failed = outcome is not None and outcome.failed
    if not failed:
        st.session_state.update(
            {
                keys["star"]: mine.star,
                keys["verdict"]: mine.verdict or None,
                keys["label"]: mine.label,
                keys["note"]: mine.note,
            }
        )

    def save() -> None:
        values = {part: st.session_state[key] or type(getattr(mine, part))() for part, key in keys.items()}
        # Only the changed parts: another tab may have changed the others meanwhile.
        _save(place, **{part: value for part, value in values.items() if value != getattr(mine, part)})

    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.toggle("Star", key=keys["star"], on_change=save)
        st.segmented_control(
            "Verdict", VERDICTS, key=keys["verdict"], on_change=save, label_visibility="collapsed"
        )
    st.text_input(
        "Label", key=keys["label"], on_change=save, max_chars=200, placeholder="what it responds to, in short"
    )
    st.text_area(
        "Note", key=keys["note"], on_change=save, max_chars=20_000, height=90,
        placeholder="evidence, doubts, what to try next",
    )  # fmt: skip
    if failed:
        st.button("Try again", key="notes_again", icon=":material/refresh:", on_click=save)


def _status(place: Place, me: str) -> None:
    """Show if the last change is saved, under which name, and the undo button."""
    outcome = _outcome(place)
    if outcome and outcome.failed:
        show_error("Not saved", outcome.text, "What you wrote is still in its field.")

    def undo() -> None:
        try:
            annotations.store().undo(annotations.key_of(place), me)
        except AnnotationError as error:
            _remember(place, str(error), failed=True)
        else:
            _remember(place, f"Undone {_clock()}")

    def other_name() -> None:
        set_user_name("")

    last = annotations.store().last_change(annotations.key_of(place), me)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        status = outcome.text if outcome and not outcome.failed else "Saved as you go"
        st.caption(f"{plain(status)}, as **{plain(me)}**", width="stretch")
        st.button(
            "Undo", key="notes_undo", icon=":material/undo:", disabled=last is None, on_click=undo,
            help="Undo your own last change of this neuron.",
        )  # fmt: skip
        st.button("Other name", key="notes_other", on_click=other_name)


def _other(annotation: Annotation) -> None:
    """Draw the annotation of another person."""
    c = annotation.content
    parts = [f"**{plain(annotation.user)}**", "★" if c.star else "", plain(c.label), plain(c.verdict)]
    with st.container(border=True, gap="xsmall"):
        st.markdown(" · ".join(filter(None, parts)))
        if c.note:
            st.markdown("  \n".join(map(plain, c.note.splitlines())))
        st.caption(plain(f"{annotation.changed:%Y-%m-%d %H:%M} UTC"))


def _change(revision: Revision) -> str:
    """Describe a change in words."""
    old, new, a = revision.before, revision.annotation.content, revision.annotation
    parts = []
    if new.star != old.star:
        parts.append("starred" if new.star else "star removed")
    if new.verdict != old.verdict:
        parts.append(f"verdict: {new.verdict or 'none'}")
    for name, before, after in (("label", old.label, new.label), ("note", old.note, new.note)):
        if before != after:
            is_now = f"“{shorten(after, _LENGTH)}”" if after else "removed"
            was = f", before: “{shorten(before, _LENGTH)}”" if before else ""
            parts.append(f"{name}: {is_now}{was}")
    undone = "undone. " if revision.undoes else ""
    return plain(f"{a.changed:%Y-%m-%d %H:%M} UTC · {a.user} · {undone}{'; '.join(parts)}")


def _save(place: Place, **changes: Any) -> None:
    try:
        annotations.save(place, **changes)
    except AnnotationError as error:
        _remember(place, str(error), failed=True)
    else:
        _remember(place, f"Saved {_clock()}")


def _remember(place: Place, text: str, failed: bool = False) -> None:
    st.session_state[_OUTCOME] = _Outcome(annotations.key_of(place), text, failed)


def _outcome(place: Place) -> _Outcome | None:
    """Return the outcome of this session's last change of this neuron."""
    outcome = st.session_state.get(_OUTCOME)
    return outcome if isinstance(outcome, _Outcome) and outcome.key == annotations.key_of(place) else None


def _clock() -> str:
    return f"{datetime.now(UTC):%H:%M:%S} UTC"
