"""What stands beside the editor, one at a time: each a module with `draw(reading)`."""

from collections.abc import Callable
from dataclasses import dataclass

from dashboard.editor_panels import code, neurons, output, suggestions, variants
from dashboard.services.editing.desk import Reading


@dataclass(frozen=True)
class Panel:
    """A part beside the editor."""

    label: str
    draw: Callable[[Reading], None]
    follows: bool = False
    """Whether it depends on the chosen token, so that a move of the caret is told."""


PANELS: dict[str, Panel] = {
    "variants": Panel("Variants", variants.draw),
    "suggestions": Panel("Single edits", suggestions.draw),
    "neurons": Panel("Neurons", neurons.draw, follows=True),
    "output": Panel("Output", output.draw, follows=True),
    "code": Panel("Code", code.draw),
}
"""By name, in the order shown."""
