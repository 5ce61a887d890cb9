"""Statistics of activations, in numpy and in loops that numba compiles. Start with `accumulator.py`."""
