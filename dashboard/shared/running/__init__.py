"""Computations that need a forward pass or the weights. Only `running_model` loads a checkpoint."""
