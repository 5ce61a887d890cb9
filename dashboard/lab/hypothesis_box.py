"""The text field of the hypothesis, with buttons that insert forms of its language."""

import streamlit as st

from dashboard.shared.annotations.hypotheses import MAX_TEXT

BOX_KEY = "lab_text"
"""Session state: the text in the field."""

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
"""The texts that the buttons insert, by the buttons' labels."""

_OPERATORS = ("and", "or", "not", "within 5 of")

HELP = [
    ("/[0-9a-f]{8}/", "tokens that a match of the regular expression touches"),
    ("before /,/", "the token before a match"),
    ("after /https?:/", "the token after a match"),
    ('token " left" " right"', "these tokens, with their spaces"),
    ('source "base64_hex"', "all text of a source or language, by the name in the examples"),
    ("first 16", "the first 16 tokens of a context"),
    ("X and Y, X or Y, not X, (X)", "both, at least one, all others; brackets as in arithmetic"),
    ("X within 5 of Y", "X where a Y is at most 5 tokens away"),
]
"""Each form, and the tokens that fit it."""


def hypothesis_box(text: str) -> None:
    """Draw the field and its buttons. A change is written to the address.

    Args:
        text: the hypothesis in the address.
    """
    # Setting the key on every rerun would overwrite characters typed since the rerun began.
    if st.session_state.get(BOX_KEY) != text:
        st.session_state[BOX_KEY] = text

    st.html(f"<style>.st-key-{BOX_KEY} input {{ font-family: monospace; }}</style>")
    st.text_input(
        "Hypothesis: which tokens does the neuron fire on?",
        key=BOX_KEY,
        max_chars=MAX_TEXT,
        live="250ms",
        on_change=lambda: write_hypothesis_to_address(st.session_state[BOX_KEY]),
        placeholder='/[0-9a-f]{8}/   or   token " left" " right"   or   source "base64_hex" and not /=/',
    )
    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
        st.caption("Insert", width="content")
        for label, form in FORMS.items():
            st.button(
                label, key=f"lab_insert_{label}", type="tertiary", help=f"`{form}`",
                on_click=lambda form=form: write_hypothesis_to_address(
                    insert_form(st.session_state[BOX_KEY], form)
                ),
            )  # fmt: skip
        with st.popover("Language", type="tertiary", icon=":material/help:"):
            st.table([{"form": f"`{form}`", "fits": fits} for form, fits in HELP], border="horizontal")


def insert_form(text: str, form: str) -> str:
    """Append a form to a hypothesis, with an `and` between them where the language needs an operator."""
    text = text.rstrip()
    if not text:
        return form
    follows_operator = text.endswith(("(", *(f" {o}" for o in _OPERATORS))) or text in _OPERATORS
    needs_and = not follows_operator and form not in ("and", "or", "within 5 of")
    return f"{text}{' and' if needs_and else ''} {form}"


def write_hypothesis_to_address(text: str) -> None:
    """Write a hypothesis to the address, from which the field then takes its text."""
    if text:
        st.query_params["hypothesis"] = text[:MAX_TEXT]
    else:
        st.query_params.pop("hypothesis", None)
