"""The activation on CPU: kernels compiled by numba, run on torch's own threads.

- `backend`: the entry, with the formulas.
- `kernels`: the arithmetic of a row; `rows` and `intrinsics`: the parts it is built from.
- `words`: the layout of the kernels' argument.
- `threads`: run a kernel on several threads. `huge_pages`: allocate large outputs.
- `compiled_cache`: keep compiled kernels on disk.
"""
