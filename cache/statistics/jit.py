"""How the loops of this package are compiled: without the interpreter's lock, and once for all processes.

numba's cache on disk looks at the date of a function's own file alone: after a change of a constant or of a
function that it takes from another file, save its file as well (the tests notice).
"""

from typing import Any

import numba
from numba.cpython.unsafe import numbers

compiled = numba.njit(nogil=True, cache=True, boundscheck=False, error_model="numpy")
inlined = numba.njit(nogil=True, cache=True, boundscheck=False, error_model="numpy", inline="always")

trailing_zeros: Any = numbers.trailing_zeros
"""Of a whole number's bits, in compiled code: how many there are below the lowest that is set."""
