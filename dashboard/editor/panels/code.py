"""Python that computes the activations on the screen."""

import streamlit as st

from dashboard.editor.current_text import CurrentText
from dashboard.editor.service import TextTokens


def draw(current: CurrentText) -> None:
    """Draw a short program to copy."""
    place = current.place
    st.caption(
        f"Prints the {place.hook} of this neuron on every token, as shown here. Run it in the folder of "
        "SoLU Explorer."
    )
    code = python_code(str(place.model.path), current.tokens, place.layer, place.neuron, place.hook)
    # No language: the colours of Streamlit's highlighting have a contrast below 4.5.
    st.code(code, language=None, wrap_lines=True)


def python_code(path: str, tokens: TextTokens, layer: int, neuron: int, hook: str) -> str:
    """Write a program that prints the tokens read of a text, each with the neuron's activation."""
    end = tokens.first + len(tokens.ids)
    all_are_read = len(tokens.ids) == tokens.n_all
    part = "" if all_are_read else f"[{tokens.first}:{end}]  # the tokens that fit into the context"
    return f"""import torch
from solu_model import encode_texts, load_neuron_model

model, tokenizer = load_neuron_model({path!r})
text = {tokens.text!r}
tokens = encode_texts(tokenizer, [text])[0]{part}
context = torch.tensor([[model.config.bos_token_id, *tokens]])
hook = "blocks.{layer}.mlp.{hook}"
with torch.inference_mode():
    _, activations = model.run_with_cache(context, [hook])
for token, value in zip(tokens, activations[hook][0, 1:, {neuron}].tolist()):
    print(f"{{value:10.4f}}  {{tokenizer.decode([token])!r}}")
"""
