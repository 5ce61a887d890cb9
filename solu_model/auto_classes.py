"""Entries for SoLU models in transformers' auto classes, made without importing transformers.

`import solu_model` is light, so the classes cannot be registered with `AutoConfig.register`, which needs
them. transformers keeps tables of names and imports a class when it is first needed; the names are entered
there when transformers imports the tables, whichever of the two packages is imported first.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # `importlib.abc` alone takes longer to import than the rest of the package's front
    from collections.abc import Sequence
    from importlib.abc import Loader
    from importlib.machinery import ModuleSpec
    from types import ModuleType

_MODEL_TYPE = "solu"
_MODULE = f"transformers.models.{_MODEL_TYPE}"
"""The module in which transformers looks for the classes of a model type; it becomes `solu_model`."""

_TABLES = {
    "transformers.models.auto.configuration_auto": ("CONFIG_MAPPING_NAMES", "SoluConfig"),
    "transformers.models.auto.modeling_auto": ("MODEL_FOR_CAUSAL_LM_MAPPING_NAMES", "SoluForCausalLM"),
}
"""By module of transformers: its table from model types to names of classes, and the name to enter."""


def register_auto_classes() -> None:
    """Make `AutoConfig` and `AutoModelForCausalLM` know SoLU models, now or when they are imported."""
    loaded = [sys.modules[name] for name in _TABLES if name in sys.modules]
    for module in loaded:
        _enter(module)
    if len(loaded) == len(_TABLES):
        # What transformers derived from the tables lacks our names: register the classes themselves.
        import_module("solu_model.model")
    elif not any(isinstance(finder, _TableFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _TableFinder())


class _TableFinder:
    """Finds the modules of `_TABLES` as the other finders do, and enters a name when one is loaded."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in _TABLES:
            return None
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            if finder is self or find is None:
                continue
            spec: ModuleSpec | None = find(fullname, path, target)
            if spec is not None:
                if spec.loader is not None:
                    _enter_after(spec.loader)
                return spec
        return None


def _enter_after(loader: Loader) -> None:
    """Change a loader, which serves one module, to enter our name into the module's table."""
    load = loader.exec_module

    def load_and_enter(module: ModuleType) -> None:
        load(module)
        _enter(module)

    loader.exec_module = load_and_enter  # type: ignore[method-assign]


def _enter(module: ModuleType) -> None:
    table, class_name = _TABLES[module.__name__]
    sys.modules.setdefault(_MODULE, sys.modules["solu_model"])
    getattr(module, table)[_MODEL_TYPE] = class_name
