"""Python that computes the activations on the screen."""

import streamlit as st

from dashboard.editor.current_text import CurrentText


def draw(current: CurrentText) -> None:
    """Draw a short program to copy."""
    st.caption(
        f"Prints the {current.place.hook} of this neuron on every token, as shown here. Run it in the folder "
        "of SoLU Explorer."
    )
    # No language: the colours of Streamlit's highlighting have a contrast below 4.5.
    st.code(python_code(current), language=None, wrap_lines=True)


def python_code(current: CurrentText) -> str:
    """Write a program that prints the tokens read of a text, each with the neuron's activation."""
    place, tokens, tokenization = current.place, current.tokens, current.running.tokenization
    bos = "none" if tokenization.bos_id is None else tokenization.bos_id
    end = tokens.first + len(tokens.ids)
    all_are_read = len(tokens.ids) == tokens.n_all
    part = "" if all_are_read else f"[{tokens.first}:{end}]  # the tokens that fit into the context"
    return f"""import torch
from solu_model import Tokenization, load_neuron_model

model, tokenizer = load_neuron_model({str(place.model.path)!r})
tokenization = Tokenization.of(model.config, tokenizer, bos={bos!r}, n_ctx={tokenization.n_ctx})
text = {tokens.text!r}
tokens = tokenization.encode([text])[0]{part}
context = torch.tensor([tokenization.context(tokens)])
hook = "blocks.{place.layer}.mlp.{place.hook}"
with torch.inference_mode():
    _, activations = model.run_with_cache(context, [hook])
for token, value in zip(tokens, activations[hook][0, tokenization.n_lead:, {place.neuron}].tolist()):
    print(f"{{value:10.4f}}  {{tokenizer.decode([token])!r}}")
"""
