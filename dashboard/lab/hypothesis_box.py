"""The box that a hypothesis is written into, and what helps to write it."""

import streamlit as st

from dashboard.shared.annotations.hypotheses import MAX_TEXT

FIELD = "lab_text"
"""Session state: what is in the box."""

FORMS = {
    "pattern": "/[0-9]+/",
    "before": "before /,/",
    "after": "after /\\n/",
    "tokens": 'token " the" "The"',
    "source": 'source "code_python"',
    "first": "first 16",
    "and": "and",
    "or": "or",
    "not": "not",
    "within": "within 5 of",
}
"""What the buttons insert, by their labels."""

_OPERATORS = ("and", "or", "not", "within 5 of")

HELP = [
    ("/[0-9a-f]{8}/", "tokens that a match of the regular expression touches"),
    ("before /,/", "the token before a match"),
    ("after /https?:/", "the token after a match"),
    ('token " left" " right"', "these tokens, written out with their blanks"),
    ('source "base64_hex"', "all of a source or language of text, as the examples name it"),
    ("first 16", "the first 16 tokens that the model sees of a text"),
    ("X and Y, X or Y, not X, (X)", "both, one of both, the others; brackets as in arithmetic"),
    ("X within 5 of Y", "X where a Y is at most 5 tokens away"),
]
"""Form and what fits it."""


def inserted(text: str, form: str) -> str:
    """A hypothesis with a form at its end, joined so that it can be read where that is possible."""
    text = text.rstrip()
    if not text:
        return form
    follows_operator = text.endswith(("(", *(f" {o}" for o in _OPERATORS))) or text in _OPERATORS
    needs_and = not follows_operator and form not in ("and", "or", "within 5 of")
    return f"{text}{' and' if needs_and else ''} {form}"


def show_box(text: str) -> None:
    """The box with its buttons; what is typed goes into the address.

    Args:
        text: what the address says.
    """
    if st.session_state.get(FIELD) != text:  # setting what is there already would overwrite what is typed
        st.session_state[FIELD] = text

    def typed() -> None:
        to_address(st.session_state[FIELD])

    st.html(f"<style>.st-key-{FIELD} input {{ font-family: monospace; }}</style>")
    st.text_input(
        "Hypothesis: which tokens does the neuron fire on?",
        key=FIELD,
        max_chars=MAX_TEXT,
        live="250ms",
        on_change=typed,
        placeholder='/[0-9a-f]{8}/   or   token " left" " right"   or   source "base64_hex" and not /=/',
    )
    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
        st.caption("Insert", width="content")
        for label, form in FORMS.items():
            st.button(
                label, key=f"lab_insert_{label}", type="tertiary", help=f"`{form}`",
                on_click=lambda form=form: to_address(inserted(st.session_state[FIELD], form)),
            )  # fmt: skip
        with st.popover("Language", type="tertiary", icon=":material/help:"):
            st.table([{"form": f"`{form}`", "fits": what} for form, what in HELP], border="horizontal")


def to_address(text: str) -> None:
    """Have the address name another hypothesis; the box then holds it."""
    if text:
        st.query_params["hypothesis"] = text[:MAX_TEXT]
    else:
        st.query_params.pop("hypothesis", None)
