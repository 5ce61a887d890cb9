"""Stopping a build, and the progress that it reports."""

import json
from pathlib import Path

import pytest

from cache.building.build import Stopped, build_cache
from cache.reader import NeuronCache


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("n", [1, 7, 39])
def test_a_stopped_build_goes_on_to_the_same_bytes(
    tiny_model: Path, corpus: Path, tmp_path: Path, n: int
) -> None:
    out, asked = tmp_path / "neurons", 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked == n

    with pytest.raises(Stopped, match="resumes from"):
        build_cache(tiny_model, [corpus], out, progress=False, stop=stop)
    assert (asked, out.exists()) == (n, False)
    build_cache(tiny_model, [corpus], out, progress=False)
    assert bytes_of(out) == bytes_of(tiny_model / "neurons")
    assert not out.with_name("neurons.state").exists()


def test_the_report_ends_with_what_the_cache_says(tiny_model: Path, corpus: Path, tmp_path: Path) -> None:
    report, seen = tmp_path / "deep" / "report.json", []

    def look() -> bool:
        seen.append(json.loads(report.read_text()))
        return False

    build_cache(tiny_model, [corpus], tmp_path / "neurons", progress=False, report=report, stop=look)
    corpus_record = NeuronCache.open(tmp_path / "neurons").manifest.corpus
    last = json.loads(report.read_text())
    assert (last["stage"], last["n_tokens"], last["n_bytes"]) == (
        "writing", corpus_record.n_tokens, corpus_record.n_bytes,
    )  # fmt: skip
    assert {s["stage"] for s in seen} == {"reading"}
    assert last["tokens_per_second"] > 0
    assert last["memory"] > 10_000_000
    assert last["total_bytes"] >= last["n_bytes"]
    assert last["seconds_left"] >= 0
