"""Edited texts: names of examples in addresses, what is left of an original, the code of it all. Pure."""

import re
from collections.abc import Hashable, Sequence
from difflib import SequenceMatcher

MAX_TEXT = 200_000
"""UTF-16 code units that the editor holds; more is cut, and said so."""

_SURROGATE = re.compile("[\ud800-\udfff]")


def whole(text: str) -> str:
    """Text that can be written as UTF-8, of the same length in UTF-16: halves of characters become U+FFFD."""
    return _SURROGATE.sub("\ufffd", text)


def as_typed(text: str) -> str:
    """Text as a browser's text field holds it: every line ends with a line feed alone."""
    return whole(text).replace("\r\n", "\n").replace("\r", "\n")


def align_tokens(original: Sequence[Hashable], edited: Sequence[Hashable]) -> list[int]:
    """Which token of the original each token of the edit is, -1 for a new one; ascending, none twice."""
    shorter = min(len(original), len(edited))
    before = 0
    while before < shorter and original[before] == edited[before]:
        before += 1
    after = 0
    while after < shorter - before and original[-1 - after] == edited[-1 - after]:
        after += 1
    old, new = original[before : len(original) - after], edited[before : len(edited) - after]
    middle = [-1] * len(new)
    for block in SequenceMatcher(None, old, new, autojunk=False).get_matching_blocks():
        for k in range(block.size):
            middle[block.b + k] = before + block.a + k
    return [*range(before), *middle, *range(len(original) - after, len(original))]


def code(path: str, text: str, layer: int, neuron: int, hook: str, keep: str) -> str:
    """Python that prints a text's tokens with the neuron's activation on each, as the editor shows them."""
    window = "[: model.config.n_ctx - 1]" if keep == "first" else "[-(model.config.n_ctx - 1) :]"
    return f"""import torch
from solu_model.loading.adapters import load_neuron_model
from solu_model.text.tokenizer import encode_texts

model, tokenizer = load_neuron_model({path!r})
text = {text!r}
tokens = encode_texts(tokenizer, [text])[0]{window}
hook = "blocks.{layer}.mlp.{hook}"
with torch.inference_mode():
    context = torch.tensor([[model.config.bos_token_id, *tokens]])
    _, activations = model.run_with_cache(context, [hook])
values = activations[hook][0, 1:, {neuron}]
for token, value in zip(tokens, values.tolist()):
    print(f"{{value:10.4f}}  {{tokenizer.decode([token])!r}}")
"""
