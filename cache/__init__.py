"""Neuron caches: a model's neurons over a corpus, with statistics and examples of each.

from cache import NeuronCache

cache = NeuronCache.open("models/solu-1l/neurons")
cache.neuron(layer=0, index=7).top("hook_mid")[0].value

Reading needs numpy and pyarrow alone. Names are loaded on first use, so that a submodule is imported without
them. To build a cache use `solu cache build`, or `cache.building.build.build_cache`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cache.format.histogram import Histogram, Moments
    from cache.format.schema import CacheError, Manifest, Provenance
    from cache.format.vocabulary import Piece, Vocabulary
    from cache.reader import (
        ContextsKept,
        Example,
        Neuron,
        NeuronCache,
        NotFinite,
        RangeSample,
        SourceShare,
        TokenMean,
    )

__all__ = [
    "CacheError",
    "ContextsKept",
    "Example",
    "Histogram",
    "Manifest",
    "Moments",
    "Neuron",
    "NeuronCache",
    "NotFinite",
    "Piece",
    "Provenance",
    "RangeSample",
    "SourceShare",
    "TokenMean",
    "Vocabulary",
]

_NAMES_BY_MODULE = {
    "format.histogram": ("Histogram", "Moments"),
    "format.schema": ("CacheError", "Manifest", "Provenance"),
    "format.vocabulary": ("Piece", "Vocabulary"),
    "reader": (
        "ContextsKept",
        "Example",
        "Neuron",
        "NeuronCache",
        "NotFinite",
        "RangeSample",
        "SourceShare",
        "TokenMean",
    ),
}
_MODULE_OF_NAME = {name: module for module, names in _NAMES_BY_MODULE.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF_NAME:
        raise AttributeError(f"module 'cache' has no attribute {name!r}")
    return getattr(import_module(f"cache.{_MODULE_OF_NAME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
