"""What every neuron of a layer does on the cache's sample of whole contexts: computed once, kept on disk.

A file a hook, float16, a row a neuron: one neuron reads in milliseconds. They are in the user's cache folder,
under a name that follows from the checkpoint and the cache. Legend: M d_mlp, N tokens.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dashboard.shared.place import Place
from dashboard.shared.running.running_model import running_model_at
from solu_model.files import written_aside

SIZES = (50_000, 100_000, 250_000, 500_000, 1_000_000)
"""Tokens that may be asked for; a sample may hold fewer."""
FLOPS = 2e11
"""Floating point operations a second of one core, for what is said of the time; measured on a laptop's."""


@dataclass(frozen=True)
class Sample:
    """Contexts of the cache's sample, the first of them, up to a number of tokens."""

    folder: Path
    n_contexts: int
    n_tokens: int
    n_bytes: int
    """On disk, for all hooks."""
    seconds: float
    """That making it takes, about."""

    @property
    def is_ready(self) -> bool:
        """Whether it is on disk."""
        return self.folder.is_dir()

    def activations(self, hook: str) -> npt.NDArray[np.float16]:
        """`[M, N]`, read from disk where it is looked at."""
        found: npt.NDArray[np.float16] = np.load(self.folder / f"{hook}.npy", mmap_mode="r")
        return found


def samples(place: Place) -> list[Sample]:
    """What can be asked for, the smallest first; none where the cache holds no sample."""
    lengths = np.array([len(tokens) for tokens in place.cache.sample()["tokens"]], dtype=np.int64)
    ends = np.cumsum(lengths)
    found: dict[int, Sample] = {}
    for size in SIZES if len(ends) else ():
        n = max(1, int(np.searchsorted(ends, size, side="right")))
        found.setdefault(n, _sample(place, n, int(ends[n - 1])))
    return list(found.values())


def ready(place: Place) -> Sample | None:
    """The largest sample that is on disk."""
    return next((sample for sample in reversed(samples(place)) if sample.is_ready), None)


def make(place: Place, sample: Sample, progress: Callable[[float], object]) -> None:
    """Run the model over a sample; ends early, leaving nothing, where `progress` raises.

    Args:
        progress: told the part that is done, 0 to 1.

    Raises:
        ModelError: the model cannot be loaded.
        OSError: the disk is full, or the folder cannot be written.
    """
    live = running_model_at(place)
    contexts = place.cache.sample()["tokens"]
    with written_aside(sample.folder) as aside:
        aside.mkdir()
        files = {
            hook: np.lib.format.open_memmap(
                aside / f"{hook}.npy", "w+", np.float16, (place.cache.d_mlp, sample.n_tokens)
            )
            for hook in place.cache.hooks
        }
        at = 0
        for k in range(sample.n_contexts):
            tokens = contexts[k].values.to_numpy()
            for hook, values in live.activations(tokens, place.layer, place.cache.hooks).items():
                files[hook][:, at : at + len(tokens)] = values.T
            at += len(tokens)
            progress(at / sample.n_tokens)
        for file in files.values():
            file.flush()


def _sample(place: Place, n_contexts: int, n_tokens: int) -> Sample:
    manifest = place.cache.manifest
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    what = f"{manifest.model_dump_json()} {place.layer} {n_contexts}"
    weights = place.model.weights
    n_parameters = weights.stat().st_size / 2 if weights.is_file() else 0.0
    return Sample(
        folder=home / "solu-explorer" / "samples" / sha256(what.encode()).hexdigest()[:32],
        n_contexts=n_contexts,
        n_tokens=n_tokens,
        n_bytes=2 * n_tokens * place.cache.d_mlp * len(place.cache.hooks),
        seconds=2 * n_parameters * n_tokens / FLOPS,
    )
