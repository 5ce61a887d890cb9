"""A place in the dashboard: a model with its open cache, and what of it is shown. No Streamlit."""

from dataclasses import dataclass
from pathlib import Path

from cache.format.schema import MANIFEST
from cache.reader import NeuronCache
from dashboard.shared.address import VIEWS, Address
from dashboard.shared.catalog import FoundModel

Stamp = tuple[int, int]
"""Time of change and size of a file: what says that it is still the one that was read."""


@dataclass(frozen=True)
class Place:
    """An address that names something: a model with its cache, and what of it is shown."""

    model: FoundModel
    cache: NeuronCache
    layer: int
    neuron: int
    hook: str
    view: str
    panel: str
    range: int | None = None
    """The one interval of activation that is shown, from the lowest; None: all of them."""
    beside: str | None = None
    """The neuron to show beside it, see `Beside`."""

    @property
    def address(self) -> Address:
        """The address that leads here."""
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
        """What says which cache it is, for keys of what is kept between runs."""
        return str(self.cache.path), stamp_of(self.cache.path / MANIFEST)

    @property
    def views(self) -> list[str]:
        """The views that the cache holds examples for: the strongest alone in version 1."""
        return list(VIEWS) if self.cache.manifest.version >= 2 else ["top"]


def stamp_of(file: Path) -> Stamp:
    """The stamp of a file; zeros where there is none."""
    try:
        status = file.stat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size
