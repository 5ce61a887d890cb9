"""Activations of all neurons of a layer on the cache's sample of whole contexts, kept on disk.

One float16 file for each hook, with one row for each neuron, so that one neuron is read in milliseconds. The
folder is in the user's cache folder. Its name is a hash of the cache's manifest (which has the checkpoint's
hash), the layer and the number of contexts. Legend: M d_mlp, N tokens.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dashboard.shared.place import Place, stamp_of
from dashboard.shared.running.running_model import running_model_at
from solu_model.files import written_aside

SIZES = (50_000, 100_000, 250_000, 500_000, 1_000_000)
"""Tokens that a person can choose from; the cache's sample may hold fewer."""
FLOPS_PER_SECOND = 2e11
"""Speed of one core, measured on a laptop; for the estimate of the time."""


@dataclass(frozen=True)
class Sample:
    """The first contexts of the cache's sample, and the folder of the activations on them."""

    folder: Path
    n_contexts: int
    n_tokens: int
    n_bytes: int
    """Size on disk, all hooks together."""
    seconds: float
    """Estimated time of the forward passes."""

    @property
    def is_ready(self) -> bool:
        """True if the activations are on disk."""
        return self.folder.is_dir()

    def activations(self, hook: str) -> npt.NDArray[np.float16]:
        """Return `[M, N]`, mapped into memory: rows are read when they are used."""
        acts_MN: npt.NDArray[np.float16] = np.load(self.folder / f"{hook}.npy", mmap_mode="r")
        return acts_MN


def available_samples(place: Place) -> list[Sample]:
    """Return the samples that can be made, the smallest first; none if the cache has no whole contexts."""
    lengths = np.array([len(tokens) for tokens in place.cache.sample()["tokens"]], dtype=np.int64)
    ends = np.cumsum(lengths)
    samples: dict[int, Sample] = {}
    for size in SIZES if len(ends) else ():
        n_contexts = max(1, int(np.searchsorted(ends, size, side="right")))
        samples.setdefault(n_contexts, _sample(place, n_contexts, int(ends[n_contexts - 1])))
    return list(samples.values())


def largest_ready_sample(place: Place) -> Sample | None:
    """Return the largest sample whose activations are on disk."""
    return next((sample for sample in reversed(available_samples(place)) if sample.is_ready), None)


def make_sample(place: Place, sample: Sample, progress: Callable[[float], object]) -> None:
    """Run the model over a sample and write the activations.

    Args:
        progress: called with the completed part, 0 to 1. If it raises, nothing is left on disk.

    Raises:
        ModelError: the model cannot be loaded.
        OSError: the disk is full, or the folder cannot be written.
    """
    running = running_model_at(place)
    contexts = place.cache.sample()["tokens"]
    with written_aside(sample.folder) as aside:
        aside.mkdir()
        files_MN = {
            hook: np.lib.format.open_memmap(
                aside / f"{hook}.npy", "w+", np.float16, (place.cache.d_mlp, sample.n_tokens)
            )
            for hook in place.cache.hooks
        }
        n_done = 0
        for k in range(sample.n_contexts):
            tokens = contexts[k].values.to_numpy()
            for hook, acts_TM in running.activations(tokens, place.layer, place.cache.hooks).items():
                files_MN[hook][:, n_done : n_done + len(tokens)] = acts_TM.T
            n_done += len(tokens)
            progress(n_done / sample.n_tokens)
        for file in files_MN.values():
            file.flush()


def _sample(place: Place, n_contexts: int, n_tokens: int) -> Sample:
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    name = f"{place.cache.manifest.model_dump_json()} {place.layer} {n_contexts}"
    n_parameters = stamp_of(*place.model.weights)[1] / 2  # in bfloat16
    return Sample(
        folder=home / "solu-explorer" / "samples" / sha256(name.encode()).hexdigest()[:32],
        n_contexts=n_contexts,
        n_tokens=n_tokens,
        n_bytes=2 * n_tokens * place.cache.d_mlp * len(place.cache.hooks),  # float16
        seconds=2
        * n_parameters
        * n_tokens
        / FLOPS_PER_SECOND,  # a forward pass: 2 flops per parameter and token
    )
