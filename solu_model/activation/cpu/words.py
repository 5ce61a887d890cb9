"""The argument of the CPU kernels: the address of `N_WORDS` int64 words.

One address lets any threading runtime call a kernel as `void f(void *)`. A word is a number or the address of
a contiguous array, 0 where the array is absent. Legend: W neurons a block, M neurons a row.
"""

NEXT_TICKETS = 0  # address of N_THREADS counters: the next chunk of each region that no thread has taken
NEXT_SLOT = 1  # address of a counter: the next free slot of scratch
N_CHUNKS = 2
CHUNK_ROWS = 3
N_ROWS = 4
N_BLOCKS = 5
WIDTH = 6  # W
DTYPE = 7  # of x, out, mid and their gradients: FLOAT32, BFLOAT16 or FLOAT16
SOFTMAX = 8  # 1: x * softmax(x), 0: x * exp(x)
EPS = 9  # address of a float32
SCRATCH = 10  # float32 [slots, N_SCRATCH, W]
N_THREADS = 11
X = 12  # [N_ROWS, N_BLOCKS, W]
WEIGHT = 13  # float32 [M]; 0: no LayerNorm
STATS = 14  # float32 [N_ROWS, N_BLOCKS, 4]: m, 1 / sum, mean of x exp(x - m), r

# The forward and the backward pass never run in one call, so they share the words from here on.
BIAS = 15  # float32 [M], forward
OUT = 16  # like x, forward
MID = 17  # like x, forward; 0: not wanted
GRAD_OUT = 15  # like x, backward
GRAD_MID = 16  # like x, backward; 0: none
GRAD_X = 17  # like x, backward
GRAD_PARAMS = 18  # float32 [N_CHUNKS, 2, M], backward: each chunk's share for weight and bias
N_WORDS = 19

N_SCRATCH = 4
"""Rows of scratch a thread needs: widened inputs, and what one pass over a row keeps for the next."""

FLOAT32, BFLOAT16, FLOAT16 = 0, 1, 2
