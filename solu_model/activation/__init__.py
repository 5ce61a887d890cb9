"""SoLU, its LayerNorm, its exponential form, and the GELU of the baseline models.

- `reference`: the definitions, as the paper states them. Everything faster is tested against this file.
- `functional`: the functions to call. They choose a backend and run one operation.
- `op`: the registered operation `solu::activation`, its gradient, and the choice of the backend.
- `kernel_arguments`: the interface between `op` and a backend.
- `cpu/`, `cuda/`: the backends `numba` and `triton`.
"""

from solu_model.activation.functional import exp_ln, exp_unit, solu, solu_ln
from solu_model.activation.op import backend_name
from solu_model.activation.reference import activation, blocked_layer_norm, gelu, layer_norm, rms_norm

__all__ = [
    "activation",
    "backend_name",
    "blocked_layer_norm",
    "exp_ln",
    "exp_unit",
    "gelu",
    "layer_norm",
    "rms_norm",
    "solu",
    "solu_ln",
]
