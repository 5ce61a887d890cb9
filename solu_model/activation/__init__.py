"""SoLU, its LayerNorm, its exponential form and the baselines' GELU."""

from solu_model.activation.reference import (
    activation,
    blocked_layer_norm,
    exp_unit,
    gelu,
    layer_norm,
    rms_norm,
    solu,
    solu_ln,
)

__all__ = [
    "activation",
    "blocked_layer_norm",
    "exp_unit",
    "gelu",
    "layer_norm",
    "rms_norm",
    "solu",
    "solu_ln",
]
