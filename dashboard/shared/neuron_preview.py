"""Preview of a neuron in a list: a few words of its strongest examples, and its histogram."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from analysis.formatting import visible
from cache.format import schema
from cache.format.histogram import bin_edges
from cache.format.vocabulary import Vocabulary
from cache.reader import NeuronCache
from dashboard.shared.parquet_sql import table_of

N_SPARK = 32
"""Number of bars of a sparkline."""
N_SNIPPETS = 3
BEFORE, AFTER = (16, 100), (12, 70)
"""Maximum numbers of pieces and characters before and after a peak."""

Key = tuple[int, int]
"""Layer and neuron."""


def peak_summary(tokens: Sequence[int], vocabulary: Vocabulary) -> str:
    """Return the tokens of a neuron's peaks, the most frequent first, with their counts."""
    counts = Counter(visible(vocabulary.text(token)) for token in tokens)
    return "  ".join(text if n == 1 else f"{text} ×{n}" for text, n in counts.most_common())


@dataclass(frozen=True, slots=True)
class Snippet:
    """A few words around the peak of an example."""

    texts: list[str]
    """Pieces of text. Line breaks and tabs become marks; a piece of spaces alone becomes dots."""
    strengths: list[int]
    """Activation of each piece, in percent of the neuron's strongest activation."""
    peak: int
    """Index of the peak in `texts`."""


@dataclass(frozen=True, slots=True)
class Preview:
    """Snippets and histogram of one neuron."""

    snippets: list[Snippet]
    """Snippets of its strongest examples, the strongest first."""
    spark: list[int]
    """See `sparkline`."""


def previews(cache: NeuronCache, hook: str, neurons: Sequence[Key]) -> dict[Key, Preview]:
    """Return the previews of some neurons.

    From version 2 of the format on, the rows of all neurons are read together: 60 ms for 50 neurons, against
    350 ms one by one.

    Raises:
        CacheError: the cache is damaged.
    """
    if cache.manifest.version == 1:
        return {key: _preview_of_one(cache, hook, key) for key in neurons}
    of: dict[Key, list[Snippet]] = {key: [] for key in neurons}
    strongest: dict[Key, float] = {}
    examples = _rows(
        cache, schema.EXAMPLES, hook, neurons,
        f"rank, value, peak, tokens, levels_{hook} AS levels, low_{hook} AS low, high_{hook} AS high",
        f"kind = 'top' AND rank < {N_SNIPPETS}",
    )  # fmt: skip
    for row in examples.sort_by("rank").to_pylist():
        key = row["layer"], row["neuron"]
        steps = np.frombuffer(row["levels"], dtype=np.uint8) / 255
        activations = row["low"] + steps * (row["high"] - row["low"])
        scale = strongest.setdefault(key, row["value"])
        of[key].append(snippet(row["tokens"], activations, row["peak"], scale, cache.vocabulary))
    sparks = {
        (row["layer"], row["neuron"]): sparkline(np.array(row["bins"]), np.array(row["bin_counts"]))
        for row in _rows(cache, schema.PROFILES, hook, neurons, "bins, bin_counts", "true").to_pylist()
    }
    return {key: Preview(of[key], sparks.get(key, [])) for key in neurons}


def snippet(
    tokens: Sequence[int] | npt.NDArray[np.integer],
    activations: npt.NDArray[np.floating],
    peak: int,
    strongest: float,
    vocabulary: Vocabulary,
) -> Snippet:
    """Cut the words around a peak.

    Args:
        tokens: `[T]` token ids of a window.
        activations: `[T]`.
        peak: index in `tokens`.
        strongest: the activation that counts as 100%.
    """
    start = max(0, peak - 2 * BEFORE[0])
    near = slice(start, peak + 2 * AFTER[0])
    tokens, activations, peak = tokens[near], activations[near], peak - start
    pieces = vocabulary.pieces(tokens)
    at = next(i for i, p in enumerate(pieces) if p.first <= peak < p.first + p.n_tokens)
    ends = [at, at]
    for side, ((most, characters), step) in enumerate(((BEFORE, -1), (AFTER, 1))):
        left, i = characters, at + step
        while 0 <= i < len(pieces) and abs(i - at) <= most and left > 0:
            left -= len(pieces[i].text)
            ends[side], i = i, i + step
    shown = pieces[ends[0] : ends[1] + 1]
    scale = 100 / strongest if np.isfinite(strongest) and strongest > 0 else 0.0
    peaks = [max(activations[p.first : p.first + p.n_tokens].tolist(), key=abs) for p in shown]
    strengths = np.clip(np.rint(np.nan_to_num(np.array(peaks)) * scale), -100, 100).astype(int)
    return Snippet([_on_one_line(p.text) for p in shown], strengths.tolist(), at - ends[0])


def sparkline(bins: npt.NDArray[np.integer], counts: npt.NDArray[np.integer]) -> list[int]:
    """Return a histogram as `[N_SPARK]` bar heights in proportion to log10(1 + count), the highest 100.

    The bars have the same width; the count of a bin that spans several bars is spread evenly over them.

    Args:
        bins: indices of the histogram's bins in use, ascending.
        counts: counts of these bins.
    """
    if not len(bins):
        return [0] * N_SPARK
    edges = np.clip(bin_edges(), -(2.0**17), 2.0**17)
    low, high = edges[bins], edges[bins + 1]
    steps = np.linspace(low[0], high[-1], N_SPARK + 1)
    wide = high > low
    ends = np.stack([low[wide], high[wide]], axis=1).ravel()
    total = np.cumsum(counts[wide])
    below = np.stack([total - counts[wide], total], axis=1).ravel()
    sums = np.diff(np.interp(steps, ends, below)) if len(ends) else np.zeros(N_SPARK)
    for value, count in zip(low[~wide], counts[~wide], strict=True):  # the bin of zero, which has no width
        sums[min(int(np.searchsorted(steps, value, side="right")) - 1, N_SPARK - 1)] += count
    heights = np.log10(1 + np.maximum(sums, 0))
    bars: list[int] = np.rint(100 * heights / heights.max()).astype(int).tolist()
    return bars


def _preview_of_one(cache: NeuronCache, hook: str, key: Key) -> Preview:
    neuron = cache.neuron(*key)
    top, counts = neuron.top(hook), neuron.histogram(hook).counts
    strongest = top[0].value if top else 0.0
    return Preview(
        [
            snippet(e.tokens, e.activations[hook], e.peak, strongest, cache.vocabulary)
            for e in top[:N_SNIPPETS]
        ],
        sparkline(used := np.flatnonzero(counts), counts[used]),
    )


def _rows(
    cache: NeuronCache, kind: str, hook: str, neurons: Sequence[Key], columns: str, condition: str
) -> pa.Table:
    """Rows of some neurons at a hook, from the files of a kind that hold them."""
    if not neurons:
        return pa.table({"layer": [], "neuron": [], "rank": []})
    per_part = cache.manifest.neurons_per_part
    assert per_part is not None  # the manifest's own check, from version 2 on
    files = {cache.path / kind / schema.part_name(*key, per_part) for key in neurons}
    return table_of(
        f"SELECT layer, neuron, {columns} FROM read_parquet($files, hive_partitioning = false) "  # noqa: S608 our own words
        "JOIN (SELECT unnest($layers) AS layer, unnest($neurons) AS neuron) USING (layer, neuron) "
        f"WHERE hook = $hook AND {condition}",
        {
            "files": sorted(files),
            "hook": hook,
            "layers": [layer for layer, _ in neurons],
            "neurons": [neuron for _, neuron in neurons],
        },
    )


def _on_one_line(text: str) -> str:
    return visible(text, spaces=not text.strip(" "))
