"""Transformers with softmax linear units: configuration, model, tokenizer, training, checkpoints.

Names are loaded on first use, so that importing a light submodule does not import torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from solu_model.checkpoints import CheckpointError, load_checkpoint
    from solu_model.config import SoluConfig
    from solu_model.logit_effects import ablation_effects, direct_logit_effects
    from solu_model.model import SoluForCausalLM

__all__ = [
    "CheckpointError",
    "SoluConfig",
    "SoluForCausalLM",
    "ablation_effects",
    "direct_logit_effects",
    "load_checkpoint",
]

_HOMES = {
    "CheckpointError": "solu_model.checkpoints",
    "load_checkpoint": "solu_model.checkpoints",
    "ablation_effects": "solu_model.logit_effects",
    "direct_logit_effects": "solu_model.logit_effects",
    "SoluConfig": "solu_model.config",
    "SoluForCausalLM": "solu_model.model",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'solu_model' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
