"""Names of examples in addresses: `top-0`, `bottom-3`, `range-2-0`, `sample-17-40`. No Streamlit."""

import re
from dataclasses import dataclass

from cache.format.schema import CacheError
from cache.reader import Example, Neuron
from dashboard.shared.address import AddressError

_EXAMPLE = re.compile(r"(top|bottom|range-([0-9]{1,3})|sample-([0-9]{1,7}))-([0-9]{1,4})")


@dataclass(frozen=True)
class ExampleName:
    """The name of an example in an address: KIND-RANK, or KIND-GROUP-RANK."""

    kind: str
    """`top`, `bottom` or `range`; `sample` for a token of the cache's sample of whole contexts."""
    rank: int
    """Index in the cache's list of examples. For `sample`: index of the token in its context."""
    group: int = 0
    """For `range`: index of the range, the lowest first. For `sample`: index of the context."""

    @classmethod
    def parse(cls, text: str) -> "ExampleName":
        """Read a name.

        Raises:
            AddressError: the text has another form.
        """
        match = _EXAMPLE.fullmatch(text)
        if match is None:
            raise AddressError(
                f"the address says example = {text[:80]!r}: expected top-RANK, bottom-RANK, "
                "range-RANGE-RANK or sample-CONTEXT-TOKEN, each from 0, as in example=top-0"
            )
        kind = match[1].split("-")[0]
        return cls(kind, int(match[4]), int(match[2] or match[3] or 0))

    def __str__(self) -> str:
        group = f"-{self.group}" if self.kind in ("range", "sample") else ""
        return f"{self.kind}{group}-{self.rank}"

    @property
    def label(self) -> str:
        """The name in words, with indices from 1."""
        if self.kind == "range":
            return f"example {self.rank + 1} of range {self.group + 1}"
        if self.kind == "sample":
            return f"token {self.rank + 1} of sampled context {self.group + 1}"
        return f"{'strongest' if self.kind == 'top' else 'weakest'} example {self.rank + 1}"

    def of(self, neuron: Neuron, hook: str) -> Example:
        """Return the neuron's example with this name. The kind must not be `sample`.

        Raises:
            CacheError: the neuron has no such example.
        """
        if self.kind == "range":
            ranges = neuron.ranges(hook)
            examples = ranges[self.group].examples if self.group < len(ranges) else []
        else:
            examples = neuron.top(hook) if self.kind == "top" else neuron.bottom(hook)
        if self.rank >= len(examples):
            raise CacheError(
                f"there is no example {self}: neuron {neuron.index} of layer {neuron.layer} has "
                f"{len(examples)} such examples at {hook}. Open one from the neuron's page"
            )
        return examples[self.rank]
