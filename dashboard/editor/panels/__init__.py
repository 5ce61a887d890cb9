"""Panels beside the editor, one at a time: each a module with `draw(reading)`."""

from dashboard.shared.parts import Part, Parts

PANELS: Parts = {
    "variants": Part("Variants", "dashboard.editor.panels.variants"),
    "suggestions": Part("Single edits", "dashboard.editor.panels.suggestions"),
    "neurons": Part("Neurons", "dashboard.editor.panels.neurons", follows_caret=True),
    "output": Part("Output", "dashboard.editor.panels.output", follows_caret=True),
    "code": Part("Code", "dashboard.editor.panels.code"),
}
