"""Training: `run.py` a run's folder, `loop.py` its steps; on one process or, under `torchrun`, on many.

`recipe.py` hyper-parameters and presets, `identity.py` which run a folder holds, `batches.py` the rows of a
step, `muon.py` an optimizer, `processes.py` and `sharding.py` several processes, `checkpoints.py` the state
saved, `metrics.py` and `held_out.py` the curve, `snapshots.py` weights during training, `memory.py` a check
that the model fits, `non_finite.py` the origin of a NaN.
"""

from solu_model.training.checkpoints import last_checkpoint
from solu_model.training.metrics import read_metrics
from solu_model.training.processes import Layout
from solu_model.training.recipe import PRESETS, Recipe, Stopped, TrainingError, multiplies_bf16
from solu_model.training.run import train

__all__ = [
    "PRESETS",
    "Layout",
    "Recipe",
    "Stopped",
    "TrainingError",
    "last_checkpoint",
    "multiplies_bf16",
    "read_metrics",
    "train",
]
