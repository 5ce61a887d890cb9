"""Record of a neuron: everything that a cache holds of it, as plain values with their provenance."""

import math
import re
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import numpy as np

from cache.reader import Example, NeuronCache
from dashboard.shared.annotations.content import Annotation

FORMAT = "solu-explorer-neuron"
VERSION = 1

Record = dict[str, Any]


def neuron_record(
    cache: NeuronCache, model: str, layer: int, neuron: int, annotations: Sequence[Annotation] = ()
) -> Record:
    """Return the record that the files are written from: JSON's types alone, None for NaN and infinity.

    Raises:
        CacheError: there is no such neuron, or the cache is damaged.
    """
    one = cache.neuron(layer, neuron)
    hooks = {}
    for hook in cache.hooks:
        histogram = one.histogram(hook)
        used = np.flatnonzero(histogram.counts)
        hooks[hook] = {
            "moments": {name: _number(value) for name, value in asdict(one.moments(hook)).items()},
            "histogram": [
                {
                    "low": _number(histogram.edges[i]),
                    "high": _number(histogram.edges[i + 1]),
                    "count": int(histogram.counts[i]),
                }
                for i in used
            ],
            "tokens": [
                {"token": t.token, "text": cache.vocabulary.text(t.token), "mean": t.mean, "count": t.count}
                for t in one.tokens(hook)
            ],
            "sources": [asdict(s) for s in one.sources(hook)],
            "examples": [
                *_examples(cache, "strongest", one.top(hook)),
                *(
                    {**row, "range_low": _number(sampled.low), "range_high": _number(sampled.high)}
                    for sampled in one.ranges(hook)
                    for row in _examples(cache, "range", sampled.examples)
                ),
                *_examples(cache, "weakest", one.bottom(hook)),
            ],
        }
    return {
        "format": FORMAT,
        "version": VERSION,
        "model": model,
        "layer": layer,
        "neuron": neuron,
        "provenance": provenance(cache),
        "annotations": [
            {"user": a.user, **asdict(a.content), "changed": a.changed.isoformat()} for a in annotations
        ],
        "hooks": hooks,
    }


def provenance(cache: NeuronCache) -> Record:
    """Return checkpoint, corpus, precision and versions of a cache."""
    m = cache.manifest
    return {
        "checkpoint": m.model.name,
        "checkpoint_sha256": m.model.sha256,
        "act_fn": m.model.act_fn,
        "tokenizer_sha256": m.model.tokenizer,
        "corpus": list(m.corpus.names),
        "corpus_sha256": m.corpus.sha256,
        "corpus_sample": m.corpus.sample,
        "corpus_seed": m.corpus.seed,
        "corpus_tokens": m.corpus.n_tokens,
        "corpus_documents": m.corpus.n_documents,
        "dtype": m.dtype,
        "device": m.device,
        "cache_version": m.version,
        "built_with": dict(m.versions),
        "exported_with": {"solu-explorer": version("solu-explorer")},
    }


def provenance_text(record: Record, hook: str = "") -> str:
    """Return the provenance in one line, for under a figure."""
    p = record["provenance"]
    where = f"{record['model']}, layer {record['layer']}, neuron {record['neuron']}"
    sample = (
        "" if p["corpus_sample"] == 1 else f" (a sample of {p['corpus_sample']:g}, seed {p['corpus_seed']})"
    )
    return (
        f"{where}{', ' + hook if hook else ''}. Checkpoint SHA-256 {p['checkpoint_sha256'][:12]}, "
        f"{p['act_fn']}, {p['dtype']}. {p['corpus_tokens']:,} tokens of {', '.join(p['corpus'])}{sample}. "
        f"SoLU Explorer {p['exported_with']['solu-explorer']}"
    )


def file_name(model: str, layer: int, what: str) -> str:
    """Return MODEL-L0-WHAT, in characters that every file system accepts."""
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", model).strip(".-") or "model"
    return f"{safe}-L{layer}-{what}"


def _examples(cache: NeuronCache, kind: str, examples: Sequence[Example]) -> list[Record]:
    return [
        {
            "kind": kind,
            "rank": rank,
            "value": _number(e.value),
            "tokens": [int(t) for t in e.tokens],
            "pieces": [
                {"text": p.text, "first": p.first, "n_tokens": p.n_tokens}
                for p in cache.vocabulary.pieces(e.tokens)
            ],
            "peak": e.peak,
            "activations": {name: [_number(v) for v in values] for name, values in e.activations.items()},
            "position": e.position,
            "context_start": e.context_start,
            **asdict(e.document),
        }
        for rank, e in enumerate(examples, start=1)
    ]


def _number(value: float | np.number[Any]) -> float | int | None:
    """Return a number that JSON can hold; a float32 in the fewest digits that identify it."""
    if isinstance(value, int | np.integer):
        return int(value)
    if not math.isfinite(value):
        return None
    return float(str(value)) if isinstance(value, np.float32) else float(value)
