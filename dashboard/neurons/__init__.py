"""A list of neurons: the question its address asks, the answer, a row, and the controls above it."""
