"""Measures of a trained model: held-out loss, effective size multiplier, the tasks of the paper."""
