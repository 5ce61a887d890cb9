"""The Python that reproduces the numbers."""

import streamlit as st

from dashboard.editor.desk import Reading
from dashboard.editor.edited_text import code


def draw(reading: Reading) -> None:
    """A few lines to copy."""
    place = reading.place
    st.caption(
        f"Prints every token with the neuron's {place.hook}, as shown here. Run it in the folder of this "
        "program."
    )
    st.code(
        code(
            str(place.model.path),
            reading.tokens.text,
            place.layer,
            place.neuron,
            place.hook,
            reading.desk.keep,
        ),
        language=None,  # the colours of its highlighting are below a contrast of 4.5
        wrap_lines=True,
    )
