"""A cache built from the Models page: started, seen across reloads, stopped, gone on with, done, failed."""

import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from playwright.sync_api import Locator, Page, expect

from dashboard.models.build_jobs import last_build

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def tiny_model(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """In place of the model with a cache: a copy without one, for the server."""
    folder = tmp_path_factory.mktemp("bare") / "bare"
    shutil.copytree(tiny_checkpoint, folder, ignore=shutil.ignore_patterns("neurons*"))
    yield folder
    build = last_build(folder)
    if build and build.state in ("running", "stopping") and build.request:
        os.kill(build.request.pid, signal.SIGKILL)


def build_from(card: Locator, text: Path | str) -> None:
    card.get_by_role("textbox", name="Text: a file or folder").fill(str(text))
    card.get_by_role("button", name="Build the cache").click()


@pytest.mark.parametrize("accessible", ["light"], indirect=True)
def test_a_cache_is_built_from_the_page(
    server: str,
    page: Page,
    accessible: Callable[[], None],
    tiny_model: Path,
    corpus: Path,
    tmp_path: Path,
) -> None:
    page.goto(f"{server}/models")
    card = page.locator(".st-key-model_bare")  # other models have theirs on the same page
    expect(card.get_by_text("No neuron cache yet.")).to_be_visible()
    expect(card.get_by_role("heading", name="bare", exact=True)).to_be_visible()
    build_from(card, "relative.txt")
    expect(card.get_by_role("alert")).to_contain_text("expected an absolute path")

    bad = tmp_path / "bad.parquet"
    bad.write_bytes(b"no parquet")
    build_from(card, bad)
    expect(card.get_by_role("alert")).to_contain_text("failed")
    expect(card.get_by_role("alert")).to_contain_text("bad.parquet")
    expect(card.get_by_role("button", name="Start again")).to_be_visible()
    accessible()
    card.get_by_role("button", name="Discard").click()
    expect(card.get_by_text("No neuron cache yet.")).to_be_visible()

    rows = pq.read_table(corpus).to_pylist()
    long = tmp_path / "long.parquet"
    texts = [row | {"text": f"{n} {row['text']}"} for n in range(4000) for row in rows]
    pq.write_table(pa.Table.from_pylist(texts), long)
    build_from(card, long)
    expect(card.get_by_text("tokens/s")).to_be_visible()
    expect(card.get_by_text("left")).to_be_visible()
    page.reload()
    expect(card.get_by_text("tokens/s")).to_be_visible()
    card.get_by_role("button", name="Stop").click()
    expect(card.get_by_text("was stopped after")).to_be_visible()
    assert (tiny_model / "neurons.state").is_file()
    card.get_by_role("button", name="Resume").click()
    expect(card.get_by_text("tokens/s")).to_be_visible()
    card.get_by_role("button", name="Stop").click()
    card.get_by_role("button", name="Discard").click()
    expect(card.get_by_text("No neuron cache yet.")).to_be_visible()
    assert not (tiny_model / "neurons.state").exists()

    build_from(card, corpus)
    expect(card.get_by_text("Neurons cached over")).to_be_visible()
    card.get_by_role("link", name="Open a neuron").click()
    page.wait_for_selector(".example")
    expect(page).to_have_url(re.compile("[?&]model=bare&"))
