"""A place in the dashboard: a model with its open cache, and what of it is shown. No Streamlit."""

from dataclasses import dataclass
from pathlib import Path

from cache.format.schema import MANIFEST
from cache.reader import NeuronCache
from dashboard.shared.address import VIEWS, Address
from dashboard.shared.catalog import ModelFolder

Stamp = tuple[int, int]
"""Modification time (ns) and size (bytes) of a file. Another stamp means another content."""


@dataclass(frozen=True)
class Place:
    """A model with its open cache, and the layer, neuron, hook, view and panel that are shown of it."""

    model: ModelFolder
    cache: NeuronCache
    layer: int
    neuron: int
    hook: str
    view: str
    panel: str
    range: int | None = None
    """Number of the one range that is shown, from the lowest; None: all ranges."""
    beside: str | None = None
    """A second neuron to show beside this one, see `Beside`."""

    @property
    def address(self) -> Address:
        """The address of this place."""
        return Address(
            self.model.name,
            self.layer,
            self.neuron,
            self.hook,
            self.view,
            self.panel,
            self.range,
            self.beside,
        )

    @property
    def version(self) -> tuple[str, Stamp]:
        """Path and stamp of the cache: the part of a `st.cache_resource` key that names it."""
        return str(self.cache.path), stamp_of(self.cache.path / MANIFEST)

    @property
    def views(self) -> list[str]:
        """Views for which the cache holds examples; version 1 has the strongest alone."""
        return list(VIEWS) if self.cache.manifest.version >= 2 else ["top"]


def stamp_of(*files: Path) -> Stamp:
    """Return the stamp of a file; zeros if there is no such file.

    The stamp of several files is another one if that of any is.
    """
    if len(files) != 1:
        stamps = [stamp_of(file) for file in files]
        return hash(tuple(stamps)), sum(size for _, size in stamps)
    (file,) = files
    try:
        status = file.stat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size
