"""The activation on GPUs: Triton kernels. `backend` is the entry, and imports Triton."""
