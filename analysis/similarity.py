"""How alike neurons are: by what they do on the same tokens, by their weights, by the tokens of their peaks.

Pure. Legend: T tokens, M neurons, D d_model.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Scores = npt.NDArray[np.float64]
"""`[M]`, 1 for a neuron just like it."""

_ROWS_AT_ONCE = 1024


def standardize(activations: npt.NDArray[np.float32]) -> npt.NDArray[np.float16]:
    """Each neuron's activations `[T, M]` less their mean, over their standard deviation.

    A value that is no number counts as 0; a neuron that never changes is 0 throughout. No result is beyond
    the root of T, so that half precision holds them all.
    """
    values = np.nan_to_num(activations.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    largest = np.abs(values).max(0)
    values /= np.where(largest > 0, largest, 1)  # so that no square overflows
    values -= values.mean(0, dtype=np.float64).astype(np.float32)
    deviation = np.sqrt(np.mean(np.square(values), axis=0, dtype=np.float64))
    values /= np.where(deviation > 0, deviation, 1).astype(np.float32)
    return values.astype(np.float16)


def correlations(neuron: npt.NDArray[np.float16], others: npt.NDArray[np.float16]) -> Scores:
    """Pearson's correlation of one neuron with others over the same tokens.

    Args:
        neuron: `[T]` and others: `[T, M]`, as `standardized` gives them.
    """
    total = np.zeros(others.shape[1])
    for first in range(0, len(others), _ROWS_AT_ONCE):
        rows = slice(first, first + _ROWS_AT_ONCE)
        total += neuron[rows].astype(np.float32) @ others[rows].astype(np.float32)
    return total / max(len(others), 1)


def cosines(direction: npt.NDArray[np.float32], others: npt.NDArray[np.float32]) -> Scores:
    """Cosine of a direction `[D]` with others `[M, D]`; 0 where one of the two is nothing."""
    lengths = np.linalg.norm(others, axis=1) * np.linalg.norm(direction)
    products = (others @ direction).astype(np.float64)
    cosine: Scores = np.divide(products, lengths, out=np.zeros(len(others)), where=lengths > 0)
    return cosine


@dataclass(frozen=True)
class PeakCounts:
    """How often each token is at the peak of a neuron's strongest examples, for all neurons of a layer."""

    neuron: npt.NDArray[np.int64]
    """As the next two, an entry for each neuron and token that occur together, in the neurons' order."""
    token: npt.NDArray[np.int64]
    count: npt.NDArray[np.int64]
    totals: npt.NDArray[np.int64]
    """`[M]` peaks a neuron."""

    @classmethod
    def of(cls, peak_tokens: pa.ChunkedArray) -> "PeakCounts":
        """Counted from a cache's column `peak_tokens`: a list a neuron."""
        lists = peak_tokens.combine_chunks()
        totals = np.diff(lists.offsets.to_numpy()).astype(np.int64)
        rows = np.repeat(np.arange(len(totals)), totals)
        pairs = np.stack([rows, lists.flatten().to_numpy().astype(np.int64)])
        (neuron, token), count = np.unique(pairs, axis=1, return_counts=True)
        return cls(neuron, token, count, totals)

    def of_neuron(self, neuron: int) -> dict[int, int]:
        """One neuron's counts by token."""
        mine = self.neuron == neuron
        return dict(zip(self.token[mine].tolist(), self.count[mine].tolist(), strict=True))

    def overlaps(self, counts: dict[int, int]) -> Scores:
        """The share of peaks that are on the same tokens as often, with each neuron of this layer: the
        shared ones of those of the neuron that has more.

        Args:
            counts: of one neuron, by token.
        """
        there = np.array([counts.get(t, 0) for t in self.token.tolist()], dtype=np.int64)
        shared = np.bincount(self.neuron, np.minimum(there, self.count), minlength=len(self.totals))
        most = np.maximum(self.totals, sum(counts.values()))
        return np.divide(shared, most, out=np.zeros(len(most)), where=most > 0)


def top_neurons(scores: Scores, n: int, *, without: int | None = None, lowest: bool = False) -> list[int]:
    """The `n` neurons of the highest (or lowest) score, best first.

    Args:
        without: a neuron to leave out: the one that was compared.
    """
    order = np.argsort(scores if lowest else -scores, kind="stable")[: n + 1].tolist()
    return [neuron for neuron in order if neuron != without][:n]


def take_contexts(sample: pa.Table, n_tokens: int) -> list[npt.NDArray[Any]]:
    """Whole contexts of a cache's sample in a fixed random order, cut at `n_tokens` tokens in all."""
    column, taken, left = sample["tokens"], [], n_tokens
    for row in np.random.default_rng(0).permutation(len(sample)):
        if left <= 0:
            break
        taken.append(column[int(row)].values.to_numpy()[:left])
        left -= len(taken[-1])
    return taken
