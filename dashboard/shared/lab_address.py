"""What the lab's address says beside the neuron: a hypothesis, and which part is open. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from dashboard.shared.address import Address, AddressError
from dashboard.shared.annotations.hypotheses import MAX_TEXT

SESSION_KEY = "lab_address"
"""Session state: what the address said when the lab was last shown, for links that carry none."""
PARTS = ("fires", "detects", "counterexamples", "hand", "where", "saved")


@dataclass(frozen=True, slots=True)
class LabAddress:
    """What the lab's address says beside the neuron."""

    hypothesis: str = ""
    """As it was typed: whether it can be read is for the page to say."""
    part: str = PARTS[0]

    @classmethod
    def parse(cls, params: Mapping[str, str]) -> "LabAddress":
        """Read query parameters; unknown ones are ignored.

        Raises:
            AddressError: the hypothesis is too long or holds what is no text, or there is no such part.
        """
        text, part = params.get("hypothesis", ""), params.get("part") or PARTS[0]
        if len(text) > MAX_TEXT:
            raise AddressError(
                f"the address holds a hypothesis of {len(text):,} characters: expected at most {MAX_TEXT:,}"
            )
        if any(c == "\0" or "\ud800" <= c <= "\udfff" for c in text):
            raise AddressError("the address holds a hypothesis with a NUL or half a character: expected text")
        if part not in PARTS:
            raise AddressError(f"the address says part = {part[:40]!r}: expected one of {', '.join(PARTS)}")
        return cls(text, part)

    def params(self, neuron: Address) -> dict[str, str]:
        """As query parameters, with those of a neuron."""
        own = {"hypothesis": self.hypothesis, "part": self.part}
        return neuron.with_(view=None, panel=None, range=None, beside=None).params() | {
            name: value for name, value in own.items() if value
        }
