"""What activations add up to: numpy, and loops that numba compiles. `accumulate.py` is the way in."""
