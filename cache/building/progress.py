"""Progress of a build: a bar on the terminal, and a file for other programs."""

import json
import time
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import psutil
from tqdm import tqdm

from cache.shards.corpus import Corpus
from solu_model.files import written_aside
from solu_model.targets import check_target
from solu_model.text.documents import corpus_bytes

_SECONDS_PER_REPORT = 0.5


def check_report_target(report: Path) -> None:
    """Raise TargetError if there is something else than a build's report at `report`."""
    check_target(report, "report of a build's progress", _is_report)


def _is_report(file: Path) -> bool:
    try:
        values = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(values, dict) and {"stage", "n_tokens", "seconds_left"} <= values.keys()


class Progress:
    """Progress of reading a corpus; a context manager around the loop that calls `advance`.

    Args:
        corpus: the text, for its size.
        n_tokens: tokens read before an interruption.
        n_bytes: bytes of text read before an interruption.
        bar: draw a bar, in bytes of text, with tokens a second and memory beside it.
        report: a JSON file, rewritten twice a second: `n_tokens`; `n_bytes` of about `total_bytes` of text
            (null if not known); `tokens_per_second`; `seconds_left` (null if not known); `memory` in bytes;
            `stage`, `reading` or, once all text is read, `writing`.
    """

    def __init__(
        self, corpus: Corpus, n_tokens: int, n_bytes: int, *, bar: bool, report: Path | None
    ) -> None:
        on_disk = corpus_bytes(corpus.paths, corpus.text)  # None for a hub name, whose size is not known
        self._total = max(int(on_disk * corpus.sample / corpus.part.n), n_bytes) if on_disk else None
        self._n_tokens, self._n_bytes = n_tokens, n_bytes
        self._first_token, self._first_byte = n_tokens, n_bytes
        self._has_bar, self._report = bar, report
        self._process = psutil.Process()
        self._started = time.monotonic()
        self._last_report = -_SECONDS_PER_REPORT
        self._bar = tqdm(
            total=self._total, initial=n_bytes, unit="B", unit_scale=True, desc="caching", disable=not bar
        )

    def __enter__(self) -> Self:
        self._write_report("reading")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:  # else the report keeps the last stage that was reached
            self._write_report("writing")
        self._bar.close()

    def advance(self, n_bytes: int, n_tokens: int) -> None:
        """Count a document that was read."""
        self._n_tokens += n_tokens
        self._n_bytes += n_bytes
        if self._has_bar:
            rate = (self._n_tokens - self._first_token) / max(time.monotonic() - self._started, 1e-9)
            memory = self._process.memory_info().rss / 1e9
            self._bar.set_postfix_str(
                f"{self._n_tokens:,} tokens, {rate:,.0f}/s, {memory:.1f} GB", refresh=False
            )
            self._bar.update(n_bytes)
        if time.monotonic() - self._last_report > _SECONDS_PER_REPORT:
            self._write_report("reading")

    def _write_report(self, stage: Literal["reading", "writing"]) -> None:
        if self._report is None:
            return
        now = time.monotonic()
        spent = max(now - self._started, 1e-9)
        bytes_per_second = (self._n_bytes - self._first_byte) / spent
        seconds_left = None
        if self._total is not None and bytes_per_second:
            seconds_left = max(self._total - self._n_bytes, 0) / bytes_per_second
        self._last_report = now
        values = {
            "stage": stage,
            "n_tokens": self._n_tokens,
            "n_bytes": self._n_bytes,
            "total_bytes": self._total,
            "tokens_per_second": (self._n_tokens - self._first_token) / spent,
            "seconds_left": seconds_left,
            "memory": self._process.memory_info().rss,
        }
        with written_aside(self._report) as aside:
            aside.write_text(json.dumps(values), encoding="utf-8")
