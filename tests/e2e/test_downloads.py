"""Files of a neuron, as a person saves them; the page opens by itself and reaches for nothing."""

import io
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from cache.reader import NeuronCache

pytestmark = pytest.mark.browser


def saved(page: Page, button: str, name: str) -> bytes:
    with page.expect_download() as download:
        page.get_by_test_id("stDownloadButton").get_by_role("button", name=button, exact=True).click()
    assert download.value.suggested_filename == name
    return Path(download.value.path()).read_bytes()


def test_every_button_gives_its_file(
    server: str, page: Page, browser: Browser, tiny_model: Path, tmp_path: Path
) -> None:
    page.goto(f"{server}/?model=tiny&layer=0&neuron=5&panel=download")
    expect(page.get_by_role("button", name="Page (HTML)")).to_be_visible()
    found = json.loads(saved(page, "Everything (JSON)", "tiny-L0-N5.json"))
    assert found["neuron"] == 5
    one = NeuronCache.open(tiny_model / "neurons").neuron(0, 5)
    assert found["hooks"]["hook_mid"]["moments"]["max"] == pytest.approx(
        one.moments("hook_mid").max, rel=1e-6
    )
    assert saved(page, "CSV", "tiny-L0-N5-examples.csv").startswith(b"hook,kind,rank")
    assert saved(page, "Counts (CSV)", "tiny-L0-N5-histograms.csv").startswith(b"hook,low,high")
    parquet = pq.read_table(io.BytesIO(saved(page, "Parquet", "tiny-L0-N5-examples.parquet")))
    assert parquet.num_rows == sum(len(part["examples"]) for part in found["hooks"].values())
    assert b"<svg" in saved(page, "SVG", "tiny-L0-N5-histograms.svg")
    assert saved(page, "PNG", "tiny-L0-N5-histograms.png").startswith(b"\x89PNG")
    listed = pq.read_table(io.BytesIO(saved(page, "List (Parquet)", "tiny-L0-hook_mid-neurons.parquet")))
    assert listed["neuron"].to_pylist() == list(range(48))
    assert saved(page, "List (CSV)", "tiny-L0-hook_mid-neurons.csv").startswith(b"layer,neuron,hook")

    file = tmp_path / "page.html"
    file.write_bytes(saved(page, "Page (HTML)", "tiny-L0-N5.html"))
    for scheme in ("light", "dark"):
        context = browser.new_context(color_scheme=scheme, java_script_enabled=True)
        alone = context.new_page()
        asked: list[str] = []
        alone.on("request", lambda request, asked=asked: asked.append(request.url))
        alone.goto(file.as_uri())
        assert asked == [file.as_uri()]
        expect(alone.get_by_role("heading", name="tiny · layer 0 · neuron 5")).to_be_visible()
        assert alone.locator("li").count() == len(found["hooks"]["hook_mid"]["examples"])
        context.close()
        # The page forbids all scripts, axe's too: it is looked at without its policy.
        context = browser.new_context(color_scheme=scheme, bypass_csp=True)
        alone = context.new_page()
        alone.goto(file.as_uri())
        violations = Axe().run(alone).response["violations"]
        grave = [v for v in violations if v["impact"] in ("serious", "critical")]
        assert not grave, [(v["id"], [n["html"][:200] for n in v["nodes"][:5]]) for v in grave]
        context.close()
