"""The K strongest examples of every neuron, at most one a document, with the text around them.

Examples are ranked by value, then the earlier document, then the earlier token: a total order, so the
list does not depend on how the corpus was split. `merge` is associative and commutative.
"""

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from cache import kernels
from cache.batch import Batch


@dataclass
class TopExamples:
    """Lists of all neurons of a layer for one hook, best first; `document` is -1 where a list ends."""

    value: npt.NDArray[np.float32]
    """`[M, K]` activation at the peak."""
    document: npt.NDArray[np.int64]
    position: npt.NDArray[np.int64]
    """`[M, K]` index of the peak's token in its document."""
    context_start: npt.NDArray[np.int64]
    """`[M, K]` index in the document of the context's first token after the BOS."""
    peak: npt.NDArray[np.int32]
    """`[M, K]` index of the peak in the window."""
    length: npt.NDArray[np.int32]
    """`[M, K]` tokens of the window that are there."""
    window: npt.NDArray[np.int32]
    """`[M, K, W]` tokens around the peak, within its context and without the BOS."""
    levels: npt.NDArray[np.float32]
    """`[H, M, K, W]` activations at those tokens, for each hook."""

    @classmethod
    def empty(cls, d_mlp: int, k: int, width: int, n_hooks: int) -> "TopExamples":
        """Lists with nothing in them."""
        return cls(
            value=np.full((d_mlp, k), -np.inf, dtype=np.float32),
            document=np.full((d_mlp, k), -1, dtype=np.int64),
            position=np.zeros((d_mlp, k), dtype=np.int64),
            context_start=np.zeros((d_mlp, k), dtype=np.int64),
            peak=np.zeros((d_mlp, k), dtype=np.int32),
            length=np.zeros((d_mlp, k), dtype=np.int32),
            window=np.zeros((d_mlp, k, width), dtype=np.int32),
            levels=np.zeros((n_hooks, d_mlp, k, width), dtype=np.float32),
        )

    def offer(
        self,
        batch: Batch,
        best: npt.NDArray[np.float32],
        best_at: npt.NDArray[np.int32],
        neurons: tuple[int, int],
        window: tuple[int, int],
    ) -> None:
        """Offer each context's peak, as `kernels.scan` found them, to the neurons `[first, last)`."""
        kernels.offer(
            best, best_at, *neurons, batch.documents, batch.starts, batch.tokens, batch.lengths, batch.acts,
            self.value, self.document, self.position, self.context_start, self.peak, self.length,
            self.window, self.levels, *window,
        )  # fmt: skip

    def merge(self, other: "TopExamples") -> "TopExamples":
        """The best K of both."""
        k = self.value.shape[1]
        both = {
            f.name: np.concatenate(
                [getattr(self, f.name), getattr(other, f.name)], axis=2 if f.name == "levels" else 1
            )
            for f in fields(self)
        }
        empty = both["document"] < 0
        # Best first, empty slots last; then a document's second example goes behind all that stay.
        for drop_repeats in (False, True):
            last = empty | _repeats(both["document"]) if drop_repeats else empty
            order = np.lexsort((both["position"], both["document"], -both["value"], last), axis=1)
            both = {name: _take(array, order) for name, array in both.items()}
            empty = np.take_along_axis(last, order, axis=1)
        both["document"][empty] = -1
        both["value"][empty] = -np.inf
        return TopExamples(
            **{n: np.ascontiguousarray(a[:, :, :k] if n == "levels" else a[:, :k]) for n, a in both.items()}
        )


def _repeats(document: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """`[M, N]` true where an earlier entry of the row has the same document."""
    same = document[:, :, None] == document[:, None, :]
    return np.asarray(np.tril(same, -1).any(axis=2))


def _take(array: npt.NDArray[np.generic], order: npt.NDArray[np.int64]) -> npt.NDArray[np.generic]:
    """Reorder the example axis of any of the fields."""
    rows = np.arange(len(order))[:, None]
    return array[:, rows, order] if array.ndim == 4 else array[rows, order]
