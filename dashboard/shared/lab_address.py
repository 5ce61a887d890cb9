"""The query parameters of the lab besides the neuron's: a hypothesis and the open part. No Streamlit."""

from collections.abc import Mapping
from dataclasses import dataclass

from dashboard.shared.address import Address, AddressError, one_of
from dashboard.shared.annotations.hypotheses import MAX_TEXT

SESSION_KEY = "lab_address"
"""Session state: the address that the lab showed last, for links without parameters."""
PARTS = ("fires", "detects", "counterexamples", "hand", "where", "saved")


@dataclass(frozen=True, slots=True)
class LabAddress:
    """A hypothesis and the open part of the lab."""

    hypothesis: str = ""
    """The hypothesis as typed. It may be invalid, since the address follows typing; the page reports that."""
    part: str = PARTS[0]

    @classmethod
    def parse(cls, params: Mapping[str, str]) -> "LabAddress":
        """Read query parameters; unknown ones are ignored.

        Raises:
            AddressError: the hypothesis is too long or cannot be encoded, or the part does not exist.
        """
        text = params.get("hypothesis", "")
        if len(text) > MAX_TEXT:
            raise AddressError(
                f"the address has a hypothesis of {len(text):,} characters: expected at most {MAX_TEXT:,}. "
                "Shorten it"
            )
        if any(c == "\0" or "\ud800" <= c <= "\udfff" for c in text):
            raise AddressError(
                "the address has a hypothesis with a NUL or half of a character: expected valid text. "
                "Remove that character"
            )
        return cls(text, one_of(params, "part", PARTS) or PARTS[0])

    def params(self, neuron: Address) -> dict[str, str]:
        """Return query parameters for a neuron, this hypothesis and this part."""
        own = {"hypothesis": self.hypothesis, "part": self.part}
        return neuron.of_neuron.params() | {name: value for name, value in own.items() if value}
