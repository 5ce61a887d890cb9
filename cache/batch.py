"""What one forward pass hands to the accumulators: plain numpy, whatever ran the model."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Batch:
    """Some contexts and one layer's activations on them."""

    documents: npt.NDArray[np.int64]
    """`[B]` each context's document, counted over the whole corpus."""
    starts: npt.NDArray[np.int64]
    """`[B]` index in the document of the context's first token after the BOS."""
    lengths: npt.NDArray[np.int64]
    """`[B]` tokens of each context, its BOS included; what follows is padding."""
    tokens: npt.NDArray[np.int32]
    """`[B, T]`, BOS at position 0."""
    acts: npt.NDArray[np.float32]
    """`[H, B, T, M]` activations at each hook."""
