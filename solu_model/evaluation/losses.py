"""Losses by source of text, and their file `evaluation.json`.

    {"all": LOSS, "sources": {SOURCE: LOSS, ...}}    LOSS: n_tokens, n_bytes, nats_per_token, bits_per_byte

`all` is the loss on all text. Older files have the sources beside it, in the same object.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import log
from pathlib import Path
from typing import Any

from solu_model.files import written_aside

EVALUATION_FILE = "evaluation.json"
"""Name of the file in a model's folder."""


@dataclass
class Loss:
    """The loss summed over some text."""

    nats: float = 0.0
    """Sum of -log p over the predicted tokens."""
    n_tokens: int = 0
    """Predicted tokens: every token of the text, without the BOS of each context. Where contexts have no BOS,
    nothing predicts their first tokens, which are left out."""
    n_bytes: int = 0
    """UTF-8 bytes of the predicted text."""

    @property
    def nats_per_token(self) -> float:
        """Mean loss per predicted token, in nats."""
        return self.nats / max(self.n_tokens, 1)

    @property
    def bits_per_byte(self) -> float:
        """Loss per UTF-8 byte of text, in bits. It is comparable between tokenizers."""
        return self.nats / log(2) / max(self.n_bytes, 1)


@dataclass
class Losses:
    """The loss on all text, and on each source of it."""

    total: Loss = field(default_factory=Loss)
    by_source: dict[str, Loss] = field(default_factory=dict)
    """By `Document.source`; any string is a name, the empty one is that of text without a source."""

    def save(self, file: Path) -> None:
        """Write the losses as JSON, atomically."""
        record = {"all": _fields(self.total)}
        sources = {source: _fields(loss) for source, loss in sorted(self.by_source.items())}
        with written_aside(file) as aside:
            text = json.dumps(record | {"sources": sources}, indent=1, allow_nan=False)
            aside.write_text(text + "\n", encoding="utf-8")


def _fields(loss: Loss) -> dict[str, float]:
    return {
        "n_tokens": loss.n_tokens,
        "n_bytes": loss.n_bytes,
        "nats_per_token": loss.nats_per_token,
        "bits_per_byte": loss.bits_per_byte,
    }


def losses_by_source(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entry of each source in the content of an `evaluation.json`, new or old."""
    sources = evaluation.get("sources")
    # In an older file, "sources" may be the name of a source, with the fields of a loss.
    if isinstance(sources, Mapping) and all(isinstance(entry, Mapping) for entry in sources.values()):
        return dict(sources)
    return {source: entry for source, entry in evaluation.items() if source != "all"}


def holds_losses(file: Path) -> bool:
    """Return True if a file is an `evaluation.json`, new or old, whose losses may be measured again."""
    try:
        evaluation = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    total = evaluation.get("all") if isinstance(evaluation, dict) else None
    return isinstance(total, dict) and "nats_per_token" in total
