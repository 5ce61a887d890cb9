"""A layer's neurons as a table: what is worth a look before a neuron is opened. Pure."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from cache.histogram import bin_edges
from cache.vocabulary import Vocabulary

N_SPARK = 20
"""Bars of a sparkline."""

DEAD_SHARE = 1e-3
"""A neuron that never reaches this share of its layer's strongest activation is marked dead."""

ALWAYS_ON = 0.5
"""A neuron above a tenth of its maximum on more than this share of tokens is marked always on."""

_VISIBLE = str.maketrans({" ": "·", "\n": "↵", "\t": "⇥", "\r": "␍"})


def visible(text: str) -> str:
    """Text whose blanks can be seen."""
    return text.translate(_VISIBLE)


def peak_summary(tokens: Sequence[int], vocabulary: Vocabulary) -> str:
    """The tokens of a neuron's peaks, most frequent first, with how often each occurs."""
    counts = Counter(visible(vocabulary.text(token)) for token in tokens)
    return "  ".join(text if n == 1 else f"{text} ×{n}" for text, n in counts.most_common())


def neuron_frame(table: pa.Table, vocabulary: Vocabulary) -> pd.DataFrame:
    """The rows of `NeuronCache.table(..., histograms=True)` as they are shown, one a neuron, in order."""
    top = table["max"].to_numpy().astype(np.float64)
    density = table["density"].to_numpy()
    strongest = np.nanmax(top) if np.isfinite(top).any() else np.nan
    dead = ~(top > DEAD_SHARE * strongest) | ~(table["std"].to_numpy() > 0)
    state = np.where(dead, "dead", np.where(density > ALWAYS_ON, "always on", ""))
    return pd.DataFrame(
        {
            "neuron": table["neuron"].to_numpy(),
            "state": state,
            "fires most on": [peak_summary(t, vocabulary) for t in table["peak_tokens"].to_pylist()],
            "histogram": list(sparklines(table)),
            "max": top,
            "density": density,
            "kurtosis": table["kurtosis"].to_numpy(),
            "skewness": table["skewness"].to_numpy(),
            "mean": table["mean"].to_numpy(),
            "std": table["std"].to_numpy(),
            "min": table["min"].to_numpy().astype(np.float64),
        }
    )


def sparklines(table: pa.Table, n: int = N_SPARK) -> npt.NDArray[np.float64]:
    """log10(1 + count) over `n` even steps from each neuron's lowest to its highest value, `[neurons, n]`."""
    bins, counts = table["bins"].combine_chunks(), table["bin_counts"].combine_chunks()
    row = np.repeat(np.arange(len(table)), np.diff(bins.offsets.to_numpy()))
    index = bins.flatten().to_numpy().astype(np.int64)
    edges = np.nan_to_num(bin_edges(), posinf=2.0**17, neginf=-(2.0**17))
    low = np.nan_to_num(table["min"].to_numpy().astype(np.float64))[row]
    high = np.nan_to_num(table["max"].to_numpy().astype(np.float64))[row]
    middle = np.clip((edges[index] + edges[index + 1]) / 2, low, high)
    step = ((middle - low) / np.where(high > low, high - low, 1) * n).astype(np.int64).clip(0, n - 1)
    sums = np.zeros((len(table), n))
    np.add.at(sums, (row, step), counts.flatten().to_numpy())
    return np.log10(1 + sums)


def chosen(
    frame: pd.DataFrame,
    *,
    fires_on: str = "",
    states: Sequence[str] = (),
    by: str = "neuron",
    descending: bool = False,
) -> pd.DataFrame:
    """The rows whose peaks contain a text (blanks as they are or as they are shown; case counts only where
    a capital is given) and whose state is not hidden, sorted.

    Args:
        states: states to leave out.
        by: a column.
    """
    rows = ~frame["state"].isin(list(states))
    if wanted := visible(fires_on):
        sensitive = any(c.isupper() for c in wanted)
        rows &= frame["fires most on"].str.contains(wanted, case=sensitive, regex=False)
    return frame[rows].sort_values(by, ascending=not descending, kind="stable", na_position="last")
