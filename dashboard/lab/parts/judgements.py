"""Judgements by hand: judge one example after another, without seeing how strongly the neuron fires."""

from collections.abc import Mapping

import streamlit as st

from analysis.hypothesis import Consistency, Level
from analysis.intervals import wilson
from cache.reader import Example
from dashboard.lab.judgement_store import JUDGEMENTS, Idea, Judgement, JudgementStore, Token, blind_order
from dashboard.lab.parts.consistency import show_levels
from dashboard.shared.annotations import service as annotations
from dashboard.shared.annotations.content import AnnotationError
from dashboard.shared.annotations.open_store import open_store
from dashboard.shared.components.token_view import Group, token_view, token_view_data
from dashboard.shared.error_message import show_error
from dashboard.shared.messages import plain
from dashboard.shared.place import Place
from dashboard.shared.user_name import ask_name, remember_name, user_name

_ERROR = "hand_problem"
"""Session state: why the last judgement was not saved."""

_ICONS = {
    "consistent": ":material/check:",
    "inconsistent": ":material/close:",
    "unsure": ":material/question_mark:",
}


def draw(place: Place, text: str) -> None:
    """Draw the next example to judge, and the shares by level of activation from the judgements.

    Args:
        text: the hypothesis in the box, offered as an explanation to judge by; empty for none.
    """
    user = user_name()
    if not user:
        ask_name("to save your judgements")
        return
    remember_name()
    try:
        words = _choose_idea(place, user, text)
        if not words:
            return
        idea = Idea(annotations.key_of(place), user, words)
        judgements = open_store(JudgementStore).judgements(idea)
    except AnnotationError as error:
        show_error("Judgements cannot be read", error)
        return
    samples = {(e.document_index, e.position): e for e in _samples(place)}
    order = blind_order(idea, list(samples))
    unjudged = [token for token in order if token not in judgements]
    n_judged = len(order) - len(unjudged)
    st.progress(n_judged / max(len(order), 1), f"{n_judged} of {len(order)} examples judged")
    if reason := st.session_state.pop(_ERROR, ""):
        show_error("Not saved", reason)
    if unjudged:
        can_undo = any(token in judgements for token in order)
        _judge(place, idea, unjudged[0], samples[unjudged[0]], can_undo)
    elif order:
        st.success("Every example is judged.")
        _undo_button(idea)
    else:
        st.info("This neuron's cache holds no examples sampled by range, so there is nothing to judge.")
    if n_judged and (not unjudged or st.toggle("Show the judgements so far in a figure", key="hand_figure")):
        show_levels(place, _consistency(place, judgements))
        n_unsure = sum(judgements.get(token) == "unsure" for token in order)
        st.caption(f"{n_unsure} unsure, not counted.")


def _choose_idea(place: Place, user: str, text: str) -> str:
    """Draw the choice of an explanation (used before, a label, the hypothesis or a new one); return it."""
    used = open_store(JudgementStore).ideas(annotations.key_of(place), user)
    labels = [a.content.label for a in annotations.of_place(place) if a.content.label]
    options = list(dict.fromkeys([*used, *labels, *([text[:200]] if text else [])]))
    chosen = st.selectbox(
        "Explanation to judge by", options, accept_new_options=True, index=0 if options else None,
        placeholder="in words, e.g. the token is part of a hexadecimal number",
        key=f"hand_idea_{place.model.name}_{place.layer}_{place.neuron}",
        help="Examples come from every range of activation, in random order. Judge whether the framed token "
        "fits the explanation. Judgements are saved under your name and this explanation.",
    )  # fmt: skip
    return (chosen or "").strip()[:200]


def _samples(place: Place) -> list[Example]:
    """Return the examples sampled from every range above 0, at all hooks."""
    neuron = place.cache.neuron(place.layer, place.neuron)
    return [
        example
        for hook in place.cache.hooks
        for sampled in neuron.ranges(hook)
        if sampled.high > 0
        for example in sampled.examples
    ]


def _consistency(place: Place, judgements: Mapping[Token, Judgement]) -> dict[str, Consistency]:
    """Return, by hook, the share of examples judged consistent in each range above 0."""
    neuron = place.cache.neuron(place.layer, place.neuron)
    by_hook = {}
    for hook in place.cache.hooks:
        levels = []
        for sampled in neuron.ranges(hook):
            if sampled.high > 0:
                judged = [judgements.get((e.document_index, e.position)) for e in sampled.examples]
                n_fit = judged.count("consistent")
                n_sampled = n_fit + judged.count("inconsistent")
                low = max(sampled.low, 0.0)
                share = wilson(n_fit, n_sampled, sampled.count)
                levels.append(Level(low, sampled.high, sampled.count, n_fit, n_sampled, share))
        by_hook[hook] = Consistency(levels)
    return by_hook


def _judge(place: Place, idea: Idea, token: Token, example: Example, can_undo: bool) -> None:
    """Draw an example and the buttons that judge it."""

    def judge(judgement: Judgement) -> None:
        try:
            open_store(JudgementStore).judge(idea, token, judgement)
        except AnnotationError as error:
            st.session_state[_ERROR] = str(error)

    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        for number, judgement in enumerate(JUDGEMENTS, start=1):
            st.button(
                judgement.capitalize(), key=f"hand_{judgement}", shortcut=str(number),
                icon=_ICONS[judgement], on_click=judge, args=(judgement,),
            )  # fmt: skip
        _undo_button(idea, disabled=not can_undo)
        st.caption(f"Does the framed token fit “{plain(idea.idea)}”?", width="stretch")
    data = token_view_data(
        [Group("", [example])], place.cache.vocabulary, place.cache.hooks, place.hook,
        f"{place.version} {token}", blind=True,
    )  # fmt: skip
    token_view(data, key="hand_sample")


def _undo_button(idea: Idea, disabled: bool = False) -> None:
    def undo() -> None:
        try:
            open_store(JudgementStore).undo(idea)
        except AnnotationError as error:
            st.session_state[_ERROR] = str(error)

    st.button(
        "Undo", key="hand_undo", shortcut="U", icon=":material/undo:", on_click=undo, disabled=disabled,
        help="Take back the last judgement.",
    )  # fmt: skip
