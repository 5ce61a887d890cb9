"""Components of the editor, drawn in the browser."""
