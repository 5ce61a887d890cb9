"""Compare the pages of two checkouts: `python benchmarks/compare_dashboards.py OTHER`.

On a machine that other work shares, the times of two runs differ by a fifth, which hides the cost of a
change. Here both servers run at once, each with an own Chromium, and take turns: every wait at one stands
beside a wait at the other, under the same load. The result is the median of their ratios: above 1, this
checkout is slower.

    next    from a click on Next to the next neuron on screen
    key     from a key in the editor to the painted colours of the text
    PAGE    from the request of a page to its end of drawing

    git worktree add --detach ../before v0.1.0
    python benchmarks/compare_dashboards.py ../before

Results go to `results/dashboard-compared.json`.
"""

import argparse
import asyncio
import random
import shutil
import statistics
import subprocess
from pathlib import Path
from typing import Any

from bench_dashboard import ARGS, ROOT, WALK, Server
from bench_editor import opened, text_of
from playwright.async_api import Page, async_playwright
from records import device_name, write_record

from cache.reader import NeuronCache

MODEL, NEURON = "solu-1l", 539
PAGES = ("neurons", "layer", "editor", "lab", "models", "labels", "studies")
PAUSE = 0.2
"""Seconds between two waits, in which work that the page does afterwards ends."""

# Resolves when Streamlit has run the page's script and painted: milliseconds since the request.
DRAWN = """
async (timeout) => {
  const drawn = () =>
    document.querySelector('[data-testid="stApp"]')?.dataset.testScriptState === 'notRunning' &&
    document.querySelectorAll('[data-testid="stElementContainer"]').length > 3;
  while (!drawn()) {
    if (performance.now() > timeout) throw new Error(`${location.pathname} is not drawn in time`);
    await new Promise((r) => setTimeout(r, 5));
  }
  await new Promise((r) => requestAnimationFrame(() => setTimeout(r)));
  return performance.now();
}
"""


async def next_neuron(page: Page, server: Server) -> float:
    """Return the milliseconds from a click on Next to the next neuron."""
    if page.url == "about:blank":
        await page.goto(server.url)
        await page.evaluate(WALK, {"click": False, "timeout": 60000})
    while (wait := await page.evaluate(WALK, {"click": True, "timeout": 20000})) is None:
        await asyncio.sleep(PAUSE)  # the button is not there yet, or cannot be clicked
    return float(wait)


async def key(page: Page, server: Server) -> float:
    """Return the milliseconds from a key to the colours of the text that holds it."""
    if page.url == "about:blank":
        text = text_of(NeuronCache.open(ROOT / "models" / MODEL / "neurons"))
        await opened(page, server.url, MODEL, NEURON, text)
    await page.keyboard.press("a")
    await page.wait_for_function("window.keys.length === 0", timeout=30000)
    return float((await page.evaluate("window.times.splice(0)"))[-1])


async def drawn(page: Page, server: Server, name: str) -> float:
    """Return the milliseconds from the request of a page to its end of drawing."""
    await page.goto(f"{server.url}/{name}")
    return float(await page.evaluate(DRAWN, 60000))


async def compare(what: str, servers: list[Server], n: int, warm: int) -> dict[str, Any]:
    """Take `n` waits at each server, in turns of random order, after `warm` that are not counted."""
    times: list[list[float]] = [[], []]
    async with async_playwright() as playwright:
        pages = []
        for _ in servers:  # a browser each: the pages of one share its process
            browser = await playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGS)
            context = await browser.new_context(viewport={"width": 1440, "height": 900})
            pages.append(await context.new_page())
        for turn in range(n + warm):
            for which in random.sample((0, 1), 2):
                page, server = pages[which], servers[which]
                if what == "next":
                    wait = await next_neuron(page, server)
                elif what == "key":
                    wait = await key(page, server)
                else:
                    wait = await drawn(page, server, what)
                if turn >= warm:
                    times[which].append(wait)
                await asyncio.sleep(PAUSE)
    ratios = sorted(own / other for other, own in zip(*times, strict=True))
    quartiles = statistics.quantiles(ratios, n=4)
    return {
        "what": what,
        "n": n,
        "other_p50_ms": round(statistics.median(times[0])),
        "p50_ms": round(statistics.median(times[1])),
        "ratio": round(statistics.median(ratios), 3),
        "ratio_quartiles": [round(quartiles[0], 3), round(quartiles[2], 3)],
    }


def main() -> None:
    """Compare everything, or what the arguments name, and write the record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("other", type=Path, help="a checkout of another version")
    parser.add_argument("what", nargs="*", default=("next", "key", *PAGES))
    parser.add_argument(
        "-n", type=int, default=30, help="waits of each kind; five times as many of next and key"
    )
    args = parser.parse_args()
    roots = [args.other.resolve(), ROOT]
    servers = [Server([], root) for root in roots]
    try:
        for server in servers:
            server.wait()
        rows = []
        for what in args.what:
            often = 5 if what in ("next", "key") else 1
            rows.append(asyncio.run(compare(what, servers, args.n * often, warm=3 * often)))
            print(rows[-1], flush=True)
    finally:
        for server in servers:
            server.stop()
    versions = [_commit(root) for root in roots]
    settings = {"other": versions[0], "this": versions[1]}
    print(write_record("dashboard-compared", "cpu", settings, rows), device_name("cpu"))


def _commit(root: Path) -> str:
    named = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=root, capture_output=True, text=True, check=False
    )
    return named.stdout.strip() or "unknown"


if __name__ == "__main__":
    main()
