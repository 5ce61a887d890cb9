"""Judging by hand: one example after another, blind to how strongly the neuron fires, each kept at once."""

from collections.abc import Mapping

import streamlit as st

from analysis.hypothesis import Consistency, Level
from analysis.intervals import wilson
from cache.reader import Example
from dashboard.lab.hand_label_store import JUDGEMENTS, Idea, Judgement, Token, blind_order, open_hand_labels
from dashboard.lab.parts.consistency import show_levels
from dashboard.shared.annotations import service as annotations
from dashboard.shared.annotations.content import AnnotationError
from dashboard.shared.components.token_view import Group, token_view, token_view_data
from dashboard.shared.error_message import show_problem
from dashboard.shared.messages import plain
from dashboard.shared.place import Place
from dashboard.shared.user_name import ask_name, keep_said_name

_PROBLEM = "hand_problem"
_ICONS = {
    "consistent": ":material/check:",
    "inconsistent": ":material/close:",
    "unsure": ":material/question_mark:",
}


def draw(place: Place, text: str) -> None:
    """The next example to judge, and the figure of what was judged.

    Args:
        text: the hypothesis in the box, offered as an idea to judge by; empty for none.
    """
    me = annotations.user_name()
    if not me:
        ask_name("to keep your judgements")
        return
    keep_said_name()
    try:
        words = _idea(place, me, text)
        if not words:
            return
        idea = Idea(annotations.key_of(place), me, words)
        judged = open_hand_labels().judged(idea)
    except AnnotationError as error:
        show_problem("Judgements cannot be read", error)
        return
    samples = {(e.document_index, e.position): e for e in _samples(place)}
    order = blind_order(idea, list(samples))
    left = [token for token in order if token not in judged]
    n_done = len(order) - len(left)
    st.progress(n_done / max(len(order), 1), f"{n_done} of {len(order)} examples judged")
    if problem := st.session_state.pop(_PROBLEM, ""):
        show_problem("Not kept", problem)
    if left:
        _judge(place, idea, left[0], samples[left[0]], any(token in judged for token in order))
    elif order:
        st.success("Every example is judged.")
        _undo_button(idea)
    else:
        st.info("This neuron's cache holds no examples sampled by range, so that none can be judged.")
    if n_done and (not left or st.toggle("Show the figure of what is judged so far", key="hand_figure")):
        show_levels(place, _judged_levels(place, judged))
        unsure = sum(judged.get(token) == "unsure" for token in order)
        st.caption(f"{unsure} unsure, in no share.")


def _idea(place: Place, me: str, text: str) -> str:
    """What is judged by, in words: one used before, the label, the hypothesis, or a new one."""
    used = open_hand_labels().ideas(annotations.key_of(place), me)
    labels = [a.content.label for a in annotations.of_neuron(place) if a.content.label]
    options = list(dict.fromkeys([*used, *labels, *([text[:200]] if text else [])]))
    chosen = st.selectbox(
        "The idea to judge by", options, accept_new_options=True, index=0 if options else None,
        placeholder="in words, as: the token is part of a hexadecimal number",
        key=f"hand_idea_{place.model.name}_{place.layer}_{place.neuron}",
        help="Examples come from every range of activation in a random order. Judge the framed token: is it "
        "what the idea says? Judgements are kept under your name and this idea.",
    )  # fmt: skip
    return (chosen or "").strip()[:200]


def _samples(place: Place) -> list[Example]:
    """The examples sampled from every range above 0, of all hooks."""
    neuron = place.cache.neuron(place.layer, place.neuron)
    return [
        example
        for hook in place.cache.hooks
        for sampled in neuron.ranges(hook)
        if sampled.high > 0
        for example in sampled.examples
    ]


def _judged_levels(place: Place, judged: Mapping[Token, Judgement]) -> dict[str, Consistency]:
    """What the judgements say of each hook's levels."""
    neuron = place.cache.neuron(place.layer, place.neuron)
    found = {}
    for hook in place.cache.hooks:
        levels = []
        for sampled in neuron.ranges(hook):
            if sampled.high > 0:
                said = [judged.get((e.document_index, e.position)) for e in sampled.examples]
                fits = said.count("consistent")
                seen = fits + said.count("inconsistent")
                low = max(sampled.low, 0.0)
                share = wilson(fits, seen, sampled.count)
                levels.append(Level(low, sampled.high, sampled.count, fits, seen, share))
        found[hook] = Consistency(levels)
    return found


def _judge(place: Place, idea: Idea, token: Token, example: Example, can_undo: bool) -> None:
    """The example and the buttons that say what it is."""

    def say(judgement: Judgement) -> None:
        try:
            open_hand_labels().judge(idea, token, judgement)
        except AnnotationError as error:
            st.session_state[_PROBLEM] = str(error)

    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        for number, judgement in enumerate(JUDGEMENTS, start=1):
            st.button(
                judgement.capitalize(), key=f"hand_{judgement}", shortcut=str(number),
                icon=_ICONS[judgement], on_click=say, args=(judgement,),
            )  # fmt: skip
        _undo_button(idea, disabled=not can_undo)
        st.caption(f"Is the framed token what “{plain(idea.idea)}” says?", width="stretch")
    data = token_view_data(
        [Group("", [example])], place.cache.vocabulary, place.cache.hooks, place.hook,
        f"{place.version} {token}", blind=True,
    )  # fmt: skip
    token_view(data, key="hand_sample")


def _undo_button(idea: Idea, disabled: bool = False) -> None:
    def undo() -> None:
        try:
            open_hand_labels().undo(idea)
        except AnnotationError as error:
            st.session_state[_PROBLEM] = str(error)

    st.button(
        "Undo", key="hand_undo", shortcut="U", icon=":material/undo:", on_click=undo, disabled=disabled,
        help="Take the last judgement back.",
    )  # fmt: skip
