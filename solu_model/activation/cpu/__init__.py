"""The activation on CPU: kernels compiled by numba, run on torch's own threads.

`backend` is the entry; `kernels` holds the arithmetic; `rows` what the kernels are built from.
"""
