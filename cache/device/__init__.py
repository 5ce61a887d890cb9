"""The same statistics for activations on a GPU, in torch. Start with `accumulator.py`."""
