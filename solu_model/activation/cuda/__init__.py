"""The activation on CUDA: Triton kernels.

- `backend`: the entry; chooses a kernel by the width of a row and launches it. It imports Triton.
- `one_pass_kernels`: rows that fit in registers. `looped_kernels`: rows of any width.
- `kernel_parts`: functions that both use.
"""
