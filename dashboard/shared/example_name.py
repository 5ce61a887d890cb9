"""Names of examples in addresses. No Streamlit."""

import re
from dataclasses import dataclass

from cache.format.schema import CacheError
from cache.reader import Example, Neuron
from dashboard.shared.address import AddressError

_EXAMPLE = re.compile(r"(top|bottom|range-([0-9]{1,3})|sample-([0-9]{1,7}))-([0-9]{1,4})")


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
