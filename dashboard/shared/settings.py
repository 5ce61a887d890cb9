"""Settings from the environment: model folders, the data folder, and who may build caches."""

import os
from collections.abc import Mapping
from pathlib import Path

MODELS_VARIABLE = "SOLU_MODELS"
"""Environment: more folders with models, separated as in PATH. `solu dashboard --models` sets it."""

DATA_VARIABLE = "SOLU_DATA"
"""Environment: the folder for labels, studies and stored texts, in place of the user's data folder."""

REPOSITORY = Path(__file__).resolve().parents[2]


def model_roots(environment: Mapping[str, str] = os.environ) -> list[Path]:
    """Return the folders that are models or hold models: the bundled `models/`, then those of SOLU_MODELS."""
    named = [Path(p).expanduser() for p in environment.get(MODELS_VARIABLE, "").split(os.pathsep) if p]
    return list(dict.fromkeys([REPOSITORY / "models", *named]))


BUILDS_VARIABLE = "SOLU_BUILDS"
"""Environment: `1` lets the pages build caches, `0` does not. `solu dashboard --builds` sets it."""


def builds_allowed(address: str | None, environment: Mapping[str, str] = os.environ) -> bool:
    """Decide whether a page may build a cache from a file of the server.

    Whoever sees the page can then read that file's text. By default it is allowed only if this machine alone
    can reach the server.

    Args:
        address: the address that the server listens on; None: all addresses.
    """
    setting = environment.get(BUILDS_VARIABLE)
    return setting == "1" if setting else address in ("localhost", "127.0.0.1", "::1")


def data_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of labels, studies and stored texts: SOLU_DATA, else the user's data folder."""
    if named := environment.get(DATA_VARIABLE):
        return Path(named).expanduser()
    home = environment.get("XDG_DATA_HOME")
    return (Path(home) if home else Path.home() / ".local" / "share") / "solu-explorer"
