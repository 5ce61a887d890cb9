"""Edited texts: names of examples in addresses, what is left of an original, the code of it all. Pure."""

import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from cache.format.schema import CacheError
from cache.reader import Example, Neuron
from dashboard.state import AddressError

MAX_TEXT = 200_000
"""UTF-16 code units that the editor holds; more is cut, and said so."""

_EXAMPLE = re.compile(r"(top|bottom|range-([0-9]{1,3})|sample-([0-9]{1,7}))-([0-9]{1,4})")
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class ExampleName:
    """An example as an address names it: `top-0`, `bottom-3`, `range-2-0`, `sample-17-40`."""

    kind: str
    """`top`, `bottom` or `range`; `sample` for a token of the cache's sample of whole contexts."""
    rank: int
    """From 0, in the cache's order; of `sample`: the token of its context."""
    interval: int = 0
    """Of `range`: from 0, the lowest interval first. Of `sample`: the context, in the cache's order."""

    @classmethod
    def parse(cls, text: str) -> "ExampleName":
        """Read a name.

        Raises:
            AddressError: it is none.
        """
        found = _EXAMPLE.fullmatch(text)
        if found is None:
            raise AddressError(
                f"the address says example = {text[:80]!r}: expected top-RANK, bottom-RANK, "
                "range-INTERVAL-RANK or sample-CONTEXT-TOKEN, each from 0, as in example=top-0"
            )
        kind = found[1].split("-")[0]
        return cls(kind, int(found[4]), int(found[2] or found[3] or 0))

    def __str__(self) -> str:
        interval = f"-{self.interval}" if self.kind in ("range", "sample") else ""
        return f"{self.kind}{interval}-{self.rank}"

    @property
    def label(self) -> str:
        """In words, counted from 1."""
        if self.kind == "range":
            return f"example {self.rank + 1} of interval {self.interval + 1}"
        if self.kind == "sample":
            return f"token {self.rank + 1} of sampled context {self.interval + 1}"
        return f"{'strongest' if self.kind == 'top' else 'weakest'} example {self.rank + 1}"

    def of(self, neuron: Neuron, hook: str) -> Example:
        """The example; not of the kind `sample`, which is no neuron's.

        Raises:
            CacheError: the neuron has no such example.
        """
        if self.kind == "range":
            ranges = neuron.ranges(hook)
            examples = ranges[self.interval].examples if self.interval < len(ranges) else []
        else:
            examples = neuron.top(hook) if self.kind == "top" else neuron.bottom(hook)
        if self.rank >= len(examples):
            raise CacheError(
                f"neuron {neuron.index} of layer {neuron.layer} has {len(examples)} such examples at {hook}, "
                f"so none is called {self}: open it from the neuron's page"
            )
        return examples[self.rank]


def whole(text: str) -> str:
    """Text that can be written as UTF-8, of the same length in UTF-16: halves of characters become U+FFFD."""
    return _SURROGATE.sub("\ufffd", text)


def as_typed(text: str) -> str:
    """Text as a browser's text field holds it: every line ends with a line feed alone."""
    return whole(text).replace("\r\n", "\n").replace("\r", "\n")


def aligned(original: Sequence[Hashable], edited: Sequence[Hashable]) -> list[int]:
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
from solu_model.adapters import load_neuron_model
from solu_model.tokenizer import encode_texts

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
