"""SoLU, its LayerNorm and the baselines' GELU."""

from solu_model.activation.reference import gelu, layer_norm, solu, solu_ln

__all__ = ["gelu", "layer_norm", "solu", "solu_ln"]
