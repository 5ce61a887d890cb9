"""How far a build is: a bar for people, and a file for another program to read."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from tqdm import tqdm

from cache.shards.corpus import Corpus
from solu_model.files import written_aside
from solu_model.text.documents import corpus_bytes

_EVERY = 0.5
"""Seconds between reports."""


@contextmanager
def shown_progress(
    corpus: Corpus, n_tokens: int, n_bytes: int, *, bar: bool, report: Path | None
) -> Iterator[Callable[[int, int], None]]:
    """What to call with the bytes and tokens of every document that was read.

    Args:
        n_tokens: read before.
        n_bytes: of text, read before.
        bar: draw one, in bytes of text, with tokens a second and memory beside it.
        report: a JSON file, rewritten twice a second: `n_tokens`; `n_bytes` of about `total_bytes` of text
            (null where that is not known); `tokens_per_second`; `seconds_left` (null where not known);
            `memory` in bytes; `stage`, `reading` or, when all is read, `writing`.
    """
    found = corpus_bytes(corpus.paths)
    total = max(int(found * corpus.sample / corpus.part.n), n_bytes) if found else None
    process, started, first_token, first_byte = psutil.Process(), time.monotonic(), n_tokens, n_bytes
    last_report = -_EVERY

    def write_report(stage: str) -> None:
        nonlocal last_report
        if report is None:
            return
        now = time.monotonic()
        spent = max(now - started, 1e-9)
        bytes_a_second = (n_bytes - first_byte) / spent
        left = None if total is None or not bytes_a_second else max(total - n_bytes, 0) / bytes_a_second
        last_report = now
        values = {
            "stage": stage,
            "n_tokens": n_tokens,
            "n_bytes": n_bytes,
            "total_bytes": total,
            "tokens_per_second": (n_tokens - first_token) / spent,
            "seconds_left": left,
            "memory": process.memory_info().rss,
        }
        with written_aside(report) as aside:
            aside.write_text(json.dumps(values), encoding="utf-8")

    with tqdm(
        total=total, initial=n_bytes, unit="B", unit_scale=True, desc="caching", disable=not bar
    ) as drawn:

        def advance(more_bytes: int, more_tokens: int) -> None:
            nonlocal n_tokens, n_bytes
            n_tokens, n_bytes = n_tokens + more_tokens, n_bytes + more_bytes
            if bar:
                rate = (n_tokens - first_token) / max(time.monotonic() - started, 1e-9)
                memory = process.memory_info().rss / 1e9
                drawn.set_postfix_str(f"{n_tokens:,} tokens, {rate:,.0f}/s, {memory:.1f} GB", refresh=False)
                drawn.update(more_bytes)
            if time.monotonic() - last_report > _EVERY:
                write_report("reading")

        write_report("reading")
        yield advance
        write_report("writing")
