"""A part of a corpus and all that was seen of it: what is merged, and what a killed build goes on from."""
