"""Where the dashboard looks for models."""

import os
from collections.abc import Mapping
from pathlib import Path

MODELS_VARIABLE = "SOLU_MODELS"
"""Environment: more folders with models, separated as in PATH. `solu dashboard --models` sets it."""

REPOSITORY = Path(__file__).resolve().parent.parent


def model_roots(environment: Mapping[str, str] = os.environ) -> list[Path]:
    """Folders that are, or hold, models: the repository's `models/`, then those of SOLU_MODELS."""
    named = [Path(p).expanduser() for p in environment.get(MODELS_VARIABLE, "").split(os.pathsep) if p]
    return list(dict.fromkeys([REPOSITORY / "models", *named]))
