"""Addresses of the pages: model, layer, neuron, hook, view and panel, as query parameters.

`/?model=solu-1l&layer=0&neuron=7&hook=hook_mid&view=ranges` alone restores a neuron's page.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

SESSION_KEY = "last_address"
"""Session state: the last address that was shown, for links without an address."""

VIEWS = ("top", "ranges", "bottom")
"""Choices of examples: the strongest, samples of every range, the weakest."""
PANELS = ("numbers", "tokens", "output", "similar", "notes", "download", "about")
"""Panels beside the examples, of which one is open."""


class AddressError(ValueError):
    """An address that cannot be parsed. The message says what was expected and what was found."""


@dataclass(frozen=True, slots=True)
class Beside:
    """A second neuron, shown beside the first; in an address MODEL/LAYER/NEURON."""

    model: str
    layer: int
    neuron: int

    def __str__(self) -> str:
        return f"{self.model}/{self.layer}/{self.neuron}"

    @classmethod
    def parse(cls, text: str) -> "Beside":
        """Parse MODEL/LAYER/NEURON.

        Raises:
            AddressError: the text has another form.
        """
        match = re.fullmatch(r"(.+)/([0-9]{1,9})/([0-9]{1,9})", text)
        if not match:
            raise AddressError(
                f"the address says beside = {text!r}: expected MODEL/LAYER/NEURON, as in beside=solu-1l/0/7"
            )
        return cls(match[1], int(match[2]), int(match[3]))


@dataclass(frozen=True, slots=True)
class Address:
    """A place in the dashboard. A field that the address does not name is None."""

    model: str | None = None
    layer: int | None = None
    neuron: int | None = None
    hook: str | None = None
    view: str | None = None
    panel: str | None = None
    range: int | None = None
    """Number of the one range that is shown, from the lowest; None: all ranges."""
    beside: str | None = None
    """A second neuron, as `Beside` writes it."""

    @classmethod
    def parse(cls, params: Mapping[str, str]) -> "Address":
        """Parse query parameters; unknown ones are ignored.

        Raises:
            AddressError: layer, neuron or range is not a whole number from 0, or the view or panel is
                unknown.
        """
        return cls(
            model=params.get("model") or None,
            layer=whole_number(params, "layer"),
            neuron=whole_number(params, "neuron"),
            hook=params.get("hook") or None,
            view=one_of(params, "view", VIEWS),
            panel=one_of(params, "panel", PANELS),
            range=whole_number(params, "range"),
            beside=params.get("beside") or None,
        )

    @property
    def is_empty(self) -> bool:
        """True if no field is named."""
        return self == Address()

    def params(self) -> dict[str, str]:
        """Return the query parameters, without the fields that are None."""
        names = ("model", "layer", "neuron", "hook", "view", "panel", "range", "beside")
        pairs = ((name, getattr(self, name)) for name in names)
        return {name: str(value) for name, value in pairs if value is not None}

    @property
    def of_neuron(self) -> "Address":
        """The address of the neuron and hook alone, without view, panel, range and second neuron."""
        return self.with_(view=None, panel=None, range=None, beside=None)

    def with_(self, **changes: Any) -> "Address":
        """Return a copy with `changes`."""
        return replace(self, **changes)


def whole_number(params: Mapping[str, str], name: str) -> int | None:
    """Return a query parameter that is a whole number; None if the address does not name it.

    Raises:
        AddressError: it is something else, or has more than 9 digits.
    """
    text = params.get(name)
    if text is None or text == "":
        return None
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise AddressError(
            f"the address says {name} = {text!r}: expected a whole number from 0, as in {name}=0"
        )
    return int(text)


def one_of(params: Mapping[str, str], name: str, expected: tuple[str, ...]) -> str | None:
    """Return a query parameter that is one of the expected values; None if the address does not name it.

    Raises:
        AddressError: it is something else.
    """
    value = params.get(name) or None
    if value is not None and value not in expected:
        raise AddressError(f"the address says {name} = {value[:40]!r}: expected one of {', '.join(expected)}")
    return value
