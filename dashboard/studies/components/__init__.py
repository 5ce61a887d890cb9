"""Components of the studies, drawn in the browser."""
