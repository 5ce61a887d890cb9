"""Files of states: shards, and the saved states of interrupted builds. Equal states give equal files."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open

from cache.format.schema import CacheError, Provenance
from cache.shards.corpus import ContextSample, CorpusPart, corpus_digest
from cache.shards.settings import Settings
from cache.shards.state import BuildState, SourceTally, merged
from cache.statistics.hook import HookStatistics
from cache.storage.sealed import load_sealed, save_sealed
from cache.storage.stores import Location, local_copy

STATE_VERSION = 2

_SHOWN = 300  # characters of the difference between two builds


def save_state(state: BuildState, file: Path) -> None:
    """Write a state as safetensors, whole or not at all; the state is brought into canonical form.

    Raises:
        NotWritten: the disk is full.
    """
    state.canonicalize()
    # Sorted and in canonical form throughout, so that equal states give equal bytes.
    arrays: dict[str, npt.NDArray[np.generic]] = {"token_counts": state.token_counts}
    for layer, hooks in state.layers.items():
        for name, hook in zip(state.settings.hooks, hooks, strict=True):
            arrays |= {f"{layer}.{name}.{n}": a for n, a in hook.arrays().items()}
    record = {
        "version": STATE_VERSION,
        "settings": state.settings.model_dump(mode="json"),
        "names": sorted(state.names),
        "parts": dict(sorted(state.parts.items())),
        "tallies": [state.n_documents, state.n_contexts, state.n_tokens, state.n_bytes],
        "digest": corpus_digest(state.digest),
        "sources": state.sources
        if state.sources is None
        else {k: [t.n_documents, t.n_tokens] for k, t in sorted(state.sources.items())},
        "source_rows": state.source_rows,
        "documents": {
            str(d): [p.source, p.lang, p.licence, p.origin] for d, p in sorted(state.documents.items())
        },
        "sample": [[p, d, s, t.hex()] for p, d, s, t in state.sample.contexts],
        "sample_ceiling": state.sample.ceiling,
    }
    # In an array, since safetensors writes its metadata in no fixed order.
    text = json.dumps(record, ensure_ascii=True).encode()
    arrays["record"] = np.frombuffer(text, dtype=np.uint8)
    save_sealed(arrays, file)


def load_state(file: Path) -> BuildState:
    """Read a state that `save_state` wrote.

    Raises:
        CacheError: the file is damaged or has another version.
    """
    arrays = load_sealed(file)
    try:
        record = json.loads(arrays.pop("record").tobytes())
        if record["version"] != STATE_VERSION:
            raise CacheError(
                f"{file} is a state of version {record['version']}, this program reads version "
                f"{STATE_VERSION}: remove it and build again"
            )
        settings = Settings.model_validate(record["settings"])
        state = BuildState(
            settings=settings,
            layers={
                layer: [_hook(arrays, f"{layer}.{name}.") for name in settings.hooks]
                for layer in settings.layers
            },
            token_counts=arrays["token_counts"],
            sample=ContextSample(settings.sample_tokens, settings.seed),
            names=set(record["names"]),
            parts=record["parts"],
            digest=int(record["digest"], 16),
            sources=record["sources"] and {k: SourceTally(*v) for k, v in record["sources"].items()},
            documents={int(d): Provenance(*p) for d, p in record["documents"].items()},
            source_rows=record["source_rows"],
        )
        state.n_documents, state.n_contexts, state.n_tokens, state.n_bytes = record["tallies"]
        state.sample.restore(
            [(p, d, s, bytes.fromhex(t)) for p, d, s, t in record["sample"]], record["sample_ceiling"]
        )
    except (ValidationError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise CacheError(
            f"{file} is not a state that a build can resume from ({error}): remove it and build again"
        ) from error
    return state


def check_same_shard(out: Path, settings: Settings, names: Sequence[str], part: CorpusPart) -> None:
    """Raise CacheError if there is the shard of another build, or of another part of the text, at `out`.

    Args:
        out: file of the shard.
        settings: of the build.
        names: of the corpus.
        part: the part of it that the shard is of.
    """
    record = _record(out)
    if record is None:
        return
    try:
        differing = Settings.model_validate(record["settings"]).difference(settings)
        parts = record["parts"]
    except (ValidationError, KeyError):
        return  # of an older version, which no merge takes
    if not differing and parts != {json.dumps([list(names), part.n]): [part.k]}:
        differing = f"it is not part {part.k}/{part.n} of {', '.join(names)}"
    if differing:
        raise CacheError(
            f"{out} holds another shard, which would be replaced ({differing[:_SHOWN]}). Give another place "
            "for this one, or remove it first"
        )


def _record(file: Path) -> dict[str, Any] | None:
    """Read the record of a state without its arrays; None if the file holds no state."""
    try:
        with safe_open(file, framework="np") as tensors:
            record = json.loads(tensors.get_tensor("record").tobytes())
    except (SafetensorError, OSError, ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def load_merged(shards: Iterable[Location]) -> BuildState:
    """Read shards, each from a path or URL, and merge them.

    Raises:
        CacheError: there is no shard, one cannot be read, or they are not parts of one cache.
    """

    def states() -> Iterator[BuildState]:
        for shard in shards:
            with local_copy(shard) as file:
                yield load_state(file)

    return merged(states())


def _hook(arrays: dict[str, npt.NDArray[np.generic]], prefix: str) -> HookStatistics:
    return HookStatistics.from_arrays(
        {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}
    )
