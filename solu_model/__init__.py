"""Transformers with softmax linear units: configuration, model, tokenizer, training, checkpoints.

Names are loaded on first use, so that importing a light submodule does not import torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from solu_model.activation import backend_name, exp_ln, exp_unit, solu, solu_ln
    from solu_model.config import SoluConfig
    from solu_model.loading.checkpoints import CheckpointError, load_checkpoint
    from solu_model.logit_effects import ablation_effects, direct_logit_effects
    from solu_model.model import SoluForCausalLM

__all__ = [
    "CheckpointError",
    "SoluConfig",
    "SoluForCausalLM",
    "ablation_effects",
    "backend_name",
    "direct_logit_effects",
    "exp_ln",
    "exp_unit",
    "load_checkpoint",
    "solu",
    "solu_ln",
]

_HOMES = {
    "backend_name": "solu_model.activation",
    "exp_ln": "solu_model.activation",
    "exp_unit": "solu_model.activation",
    "solu": "solu_model.activation",
    "solu_ln": "solu_model.activation",
    "CheckpointError": "solu_model.loading.checkpoints",
    "load_checkpoint": "solu_model.loading.checkpoints",
    "ablation_effects": "solu_model.logit_effects",
    "direct_logit_effects": "solu_model.logit_effects",
    "SoluConfig": "solu_model.config",
    "SoluForCausalLM": "solu_model.model",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'solu_model' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
