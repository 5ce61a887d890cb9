"""Parts of a page that are shown one at a time, each in a module that is imported when it is first opened.

What a part needs (plotly, torch, the database) is then loaded by those who open it, and by nobody else.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a page."""

    label: str
    """Shown on the button that opens it."""
    module: str
    """Dotted name of a module with a function `draw`."""
    follows_caret: bool = False
    """In the editor: depends on the chosen token, so that the browser reports moves of the caret."""

    def draw(self, *args: object) -> None:
        """Import the module where that has not been done, and call its `draw`."""
        import_module(self.module).draw(*args)


Parts = Mapping[str, Part]
"""The parts of a page by their names in its address, in the order shown."""
