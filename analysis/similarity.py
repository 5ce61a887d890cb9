"""Similarity of neurons: by activations on the same tokens, by weights, by tokens at their peaks.

Legend: T tokens, M neurons of a layer, D d_model.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Scores = npt.NDArray[np.float64]
"""`[M]`, one for each neuron of a layer; 1 means identical."""

_ROWS_AT_ONCE = 1024  # float32 copies of as many rows at a time: the float16 arrays are large


def standardize(activations: npt.NDArray[np.float32]) -> npt.NDArray[np.float16]:
    """Subtract each neuron's mean and divide by its standard deviation.

    NaN and infinity count as 0. A neuron whose activation never changes becomes 0 throughout. No standardized
    value exceeds the square root of T, so that float16 holds them all.

    Args:
        activations: `[T, M]`.

    Returns:
        `[T, M]`, mean 0 and standard deviation 1 along T.
    """
    values = np.nan_to_num(activations.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    largest = np.abs(values).max(0)
    values /= np.where(largest > 0, largest, 1)  # no square overflows then
    values -= values.mean(0, dtype=np.float64).astype(np.float32)
    deviation = np.sqrt(np.mean(np.square(values), axis=0, dtype=np.float64))
    values /= np.where(deviation > 0, deviation, 1).astype(np.float32)
    return values.astype(np.float16)


def correlations(neuron: npt.NDArray[np.float16], others: npt.NDArray[np.float16]) -> Scores:
    """Return Pearson's correlation of one neuron with others over the same tokens.

    Args:
        neuron: `[T]`, from `standardize`.
        others: `[T, M]`, from `standardize`.
    """
    total = np.zeros(others.shape[1])
    for first in range(0, len(others), _ROWS_AT_ONCE):
        rows = slice(first, first + _ROWS_AT_ONCE)
        total += neuron[rows].astype(np.float32) @ others[rows].astype(np.float32)
    return total / max(len(others), 1)


def cosines(direction: npt.NDArray[np.float32], others: npt.NDArray[np.float32]) -> Scores:
    """Return the cosines between a direction `[D]` and others `[M, D]`; 0 where one of the two is zero."""
    lengths = np.linalg.norm(others, axis=1) * np.linalg.norm(direction)
    products = (others @ direction).astype(np.float64)
    cosine: Scores = np.divide(products, lengths, out=np.zeros(len(others)), where=lengths > 0)
    return cosine


@dataclass(frozen=True)
class PeakCounts:
    """Counts of the tokens at the peaks of the strongest examples, for all neurons of a layer.

    The first three arrays have one entry for each pair of a neuron and a token that occurs, sorted by neuron.
    """

    neuron: npt.NDArray[np.int64]
    token: npt.NDArray[np.int64]
    count: npt.NDArray[np.int64]
    totals: npt.NDArray[np.int64]
    """`[M]`, number of peaks of each neuron."""

    @classmethod
    def from_column(cls, peak_tokens: pa.ChunkedArray) -> "PeakCounts":
        """Count the column `peak_tokens` of a cache's `neurons.parquet`, one list for each neuron."""
        lists = peak_tokens.combine_chunks()
        totals = np.diff(lists.offsets.to_numpy()).astype(np.int64)
        rows = np.repeat(np.arange(len(totals)), totals)
        pairs = np.stack([rows, lists.flatten().to_numpy().astype(np.int64)])
        (neuron, token), count = np.unique(pairs, axis=1, return_counts=True)
        return cls(neuron, token, count, totals)

    def neuron_counts(self, neuron: int) -> dict[int, int]:
        """Return one neuron's counts by token."""
        rows = self.neuron == neuron
        return dict(zip(self.token[rows].tolist(), self.count[rows].tolist(), strict=True))

    def overlaps(self, counts: dict[int, int]) -> Scores:
        """Return the share of peaks that each neuron of this layer has in common with one neuron.

        The overlap of two multisets: the sum over tokens of the smaller count, divided by the larger total.

        Args:
            counts: number of peaks of the one neuron by token.
        """
        counts_here = np.array([counts.get(t, 0) for t in self.token.tolist()], dtype=np.int64)
        shared = np.bincount(self.neuron, np.minimum(counts_here, self.count), minlength=len(self.totals))
        most = np.maximum(self.totals, sum(counts.values()))
        return np.divide(shared, most, out=np.zeros(len(most)), where=most > 0)


def top_neurons(scores: Scores, n: int, *, without: int | None = None, lowest: bool = False) -> list[int]:
    """Return the `n` neurons with the highest (or lowest) score, the most extreme first.

    Args:
        scores: `[M]`.
        n: number of neurons.
        without: a neuron to leave out, as the one that the others are compared with.
        lowest: take the lowest scores.
    """
    order = np.argsort(scores if lowest else -scores, kind="stable")[: n + 1].tolist()
    return [neuron for neuron in order if neuron != without][:n]


def take_contexts(sample: pa.Table, n_tokens: int) -> list[npt.NDArray[Any]]:
    """Take contexts of a cache's sample in a fixed random order until they hold `n_tokens` tokens.

    The order is random since rows lie in the order of the corpus, where neighbours are of one source; it is
    fixed so that two models see the same tokens. The last context is cut.

    Args:
        sample: rows of a cache's `sample.parquet`, with a column `tokens`.
        n_tokens: number of tokens over all contexts, at most.
    """
    column, taken, left = sample["tokens"], [], n_tokens
    for row in np.random.default_rng(0).permutation(len(sample)):
        if left <= 0:
            break
        taken.append(column[int(row)].values.to_numpy()[:left])
        left -= len(taken[-1])
    return taken
