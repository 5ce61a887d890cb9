"""Training: `run.py` a run's folder, `loop.py` its steps; on one process or, under `torchrun`, on many.

`recipe.py` what a run is, `batches.py` which rows a step reads, `processes.py` who does what, `sharding.py` a
model spread over processes, `checkpoints.py` what a run goes on from, `metrics.py` what it says, `trouble.py`
where a NaN came from.
"""

from solu_model.training.checkpoints import last_checkpoint
from solu_model.training.metrics import read_metrics
from solu_model.training.processes import Layout
from solu_model.training.recipe import PRESETS, Recipe, TrainingError, multiplies_bf16
from solu_model.training.run import train

__all__ = [
    "PRESETS",
    "Layout",
    "Recipe",
    "TrainingError",
    "last_checkpoint",
    "multiplies_bf16",
    "read_metrics",
    "train",
]
