"""The same statistics where activations are on a GPU, in torch. `accumulate.py` is the way in."""
