"""The neuron cache: one pass over a corpus, then reading without torch."""
