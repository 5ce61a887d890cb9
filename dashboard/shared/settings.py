"""Where the dashboard looks for models, and where it keeps what people make."""

import os
from collections.abc import Mapping
from pathlib import Path

MODELS_VARIABLE = "SOLU_MODELS"
"""Environment: more folders with models, separated as in PATH. `solu dashboard --models` sets it."""

DATA_VARIABLE = "SOLU_DATA"
"""Environment: the folder for what people make, in place of the user's data folder."""

REPOSITORY = Path(__file__).resolve().parents[2]


def model_roots(environment: Mapping[str, str] = os.environ) -> list[Path]:
    """Folders that are, or hold, models: the repository's `models/`, then those of SOLU_MODELS."""
    named = [Path(p).expanduser() for p in environment.get(MODELS_VARIABLE, "").split(os.pathsep) if p]
    return list(dict.fromkeys([REPOSITORY / "models", *named]))


BUILDS_VARIABLE = "SOLU_BUILDS"
"""Environment: `1` lets the pages build caches, `0` does not. `solu dashboard --builds` sets it."""


def builds_allowed(address: str | None, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether a page may build a cache from a file of the server: whoever sees the page can then read that
    file's text. Where it is not said, only on a server that this machine alone can reach.

    Args:
        address: that the server listens on; None is every one.
    """
    said = environment.get(BUILDS_VARIABLE)
    return said == "1" if said else address in ("localhost", "127.0.0.1", "::1")


def data_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Where the server keeps what people make: SOLU_DATA, else `solu-explorer` in the user's data folder."""
    if named := environment.get(DATA_VARIABLE):
        return Path(named).expanduser()
    home = environment.get("XDG_DATA_HOME")
    return (Path(home) if home else Path.home() / ".local" / "share") / "solu-explorer"
