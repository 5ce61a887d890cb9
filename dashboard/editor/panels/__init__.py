"""Panels beside the editor, one open at a time: each is a module with `draw(current)`, a `CurrentText`."""

from dashboard.shared.parts import Part, Parts

PANELS: Parts = {
    "variants": Part("Variants", "dashboard.editor.panels.variants"),
    "single_edits": Part("Single edits", "dashboard.editor.panels.single_edits"),
    "neurons": Part("Neurons", "dashboard.editor.panels.neurons", follows_caret=True),
    "output": Part("Output", "dashboard.editor.panels.output", follows_caret=True),
    "code": Part("Code", "dashboard.editor.panels.code"),
}
