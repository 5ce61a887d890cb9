"""Checkpoints of any format this package reads: our own, TransformerLens, other causal models, a hub."""
