"""Components of the list, drawn in the browser."""
