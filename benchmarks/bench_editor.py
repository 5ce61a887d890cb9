"""Delay from typing to colours: `python benchmarks/bench_editor.py`, on the bundled model.

A real server and a real Chromium on this machine share its cores. A text of 200 tokens is in the editor; keys
are typed at its end. The time of a key runs from its press to the painted colours of a text that contains it.

    typing  a key every 150 ms (80 words a minute); one typist, then several at once in own windows
    fast    a key every 30 ms; also the characters lost
    mounts  editors mounted during the run, which must be 1

`--layers 4` measures a random model of four layers of the same width.

Results go to `results/editor.json` and `results/editor-4-layer.json`.
"""

import argparse
import asyncio
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench_dashboard import ARGS, ROOT, Server, quantiles
from playwright.async_api import Page, async_playwright
from records import device_name, write_record

from cache.reader import NeuronCache

MARKS = {
    "one typist, p95 ms": 150,
    "four typists, p95 ms": 250,
    "lost": 0,
    "mounts": 1,
    "4 layers": "twice that",
}
N_TOKENS = 200

# Times every key from its event to the paint after the reply that has it; counts the editors put on the page.
WATCH = """
(area) => {
  const layer = area.parentElement.querySelector('.layer');
  Object.assign(window, { keys: [], times: [], mounts: 1, down: 0 });
  area.addEventListener('keydown', (e) => (window.down = e.timeStamp));
  area.addEventListener('input', () => window.keys.push([window.down, area.value.length]));
  new MutationObserver(() => {
    const read = Number(layer.dataset.read);
    requestAnimationFrame(() => setTimeout(() => {
      const now = performance.now();
      while (window.keys.length && window.keys[0][1] <= read) window.times.push(now - window.keys.shift()[0]);
    }));
  }).observe(layer, { attributes: true, attributeFilter: ['data-read'] });
  new MutationObserver((changes) => {
    const added = changes.flatMap((change) => [...change.addedNodes]);
    window.mounts += added.filter((node) => node.querySelector?.('textarea')).length;
  }).observe(area.getRootNode(), { childList: true, subtree: true });
}
"""
WORDS = "and then the lamp was lit again, so that all of them could see what stood there in the dark; "


def text_of(cache: NeuronCache) -> str:
    """Return the first `N_TOKENS` tokens of a sampled context; if none is as long, repeated words."""
    for row in cache.sample().slice(0, 200).to_pylist():
        if len(row["tokens"]) >= N_TOKENS:
            data = b"".join(cache.vocabulary.token_bytes[t] for t in row["tokens"][:N_TOKENS])
            return data.decode(errors="replace").replace("\r", "")
    return WORDS * 9


async def opened(page: Page, url: str, model: str, neuron: int, text: str) -> None:
    """Open an editor with a text, and wait for its first replies."""
    await page.goto(f"{url}/editor?model={model}&neuron={neuron}&hook=hook_mid")
    area = page.locator("textarea")
    await area.wait_for(timeout=120_000)
    await page.wait_for_selector(".layer[data-read]", state="attached", timeout=120_000)
    await area.fill(text)
    await area.evaluate(WATCH)
    await area.click()
    await page.keyboard.press("Control+End")
    await page.keyboard.type(" warm", delay=150)
    await page.wait_for_function("window.keys.length === 0", timeout=120_000)  # kernels compile once, in 10 s
    await page.wait_for_timeout(1000)
    await page.evaluate("window.times = []")


async def typed(page: Page, n: int, delay: float) -> dict[str, Any]:
    """Return the times of `n` keys, and the number of characters missing from the text."""
    area = page.locator("textarea")
    before = await area.input_value()
    keys = (WORDS * (1 + n // len(WORDS)))[:n]
    for key in keys:
        await page.keyboard.press(key if key != " " else "Space")
        await page.wait_for_timeout(delay)
    await page.wait_for_function("window.keys.length === 0", timeout=30_000)
    times = await page.evaluate("window.times.splice(0)")
    after = await area.input_value()
    lost = 0 if after == before + keys else len(before + keys) - len(after) or -1
    return {"times": times, "lost": lost, "mounts": await page.evaluate("window.mounts")}


async def crowd(url: str, model: str, text: str, users: int, n: int, delay: float) -> list[dict[str, Any]]:
    """Return the times of several typists at once, each with an own window and session."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGS)
        pages = []
        for which in range(users):
            context = await browser.new_context(viewport={"width": 1440, "height": 900})
            pages.append(await context.new_page())
            await opened(pages[-1], url, model, 100 + which, text)
        return list(await asyncio.gather(*(typed(page, n, delay) for page in pages)))


def row(what: str, users: int, delay: float, found: list[dict[str, Any]]) -> dict[str, Any]:
    times = [t for f in found for t in f["times"]]
    made = {"what": what, "typists": users, "ms_a_key": delay} | quantiles(times)
    return made | {"lost": sum(f["lost"] for f in found), "mounts": max(f["mounts"] for f in found)}


def deeper_model(folder: Path, n_layers: int) -> Path:
    """Make a random model with the bundled model's width and tokenizer, and a cache over a few documents."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    import torch

    from cache.building.build import build_cache
    from cache.building.engine import Options
    from solu_model.loading.checkpoints import load_with_tokenizer, save_checkpoint
    from solu_model.model import SoluForCausalLM

    bundled, tokenizer = load_with_tokenizer(ROOT / "models" / "solu-1l")
    torch.manual_seed(0)
    config = type(bundled.config)(**(bundled.config.to_dict() | {"n_layers": n_layers}))
    save_checkpoint(SoluForCausalLM(config), folder / "deeper", tokenizer)
    rows = [
        {"text": WORDS * 5, "source": "own", "lang": "en", "licence": "CC0-1.0", "origin": f"own/{i}"}
        for i in range(4)
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "own.parquet")
    options = Options(by_token=False)
    build_cache(
        folder / "deeper", [folder / "own.parquet"], folder / "deeper" / "neurons", options, progress=False
    )
    return folder / "deeper"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--keys", type=int, default=120)
    parser.add_argument("--typists", type=int, default=4)
    parser.add_argument("--name", default="")
    args = parser.parse_args()
    print(device_name("cpu"))
    with tempfile.TemporaryDirectory() as made:
        bundled = ROOT / "models" / "solu-1l"
        model = bundled if args.layers == 1 else deeper_model(Path(made), args.layers)
        text = text_of(NeuronCache.open(bundled / "neurons"))
        server = Server([] if model == bundled else [model])
        rows = []
        try:
            server.wait()
            for users, delay, what in ((1, 150, "typing"), (1, 30, "fast"), (args.typists, 150, "typing")):
                found = asyncio.run(crowd(server.url, model.name, text, users, args.keys, delay))
                rows.append(row(what, users, delay, found))
                print(rows[-1])
        finally:
            server.stop()
    name = args.name or ("editor" if args.layers == 1 else f"editor-{args.layers}-layer")
    write_record(name, "cpu", {"marks": MARKS, "tokens": N_TOKENS, "layers": args.layers}, rows)


if __name__ == "__main__":
    sys.exit(main())
