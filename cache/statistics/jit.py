"""How the loops of this package are compiled: without the interpreter's lock, and once for all processes.

numba's cache on disk looks at the date of a function's own file alone: after a change of a constant or of a
function that it takes from another file, save its file as well (the tests notice).
"""

import numba

compiled = numba.njit(nogil=True, cache=True, boundscheck=False, error_model="numpy")
inlined = numba.njit(nogil=True, cache=True, boundscheck=False, error_model="numpy", inline="always")
