"""SoLU, its LayerNorm, its exponential form and the baselines' GELU.

`units` holds the functions to call, `op` the registered operation and the choice of a backend,
`cpu` and `cuda` what runs there, `reference` the definition.
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
