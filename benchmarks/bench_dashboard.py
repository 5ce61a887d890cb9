"""Waiting times of a person: `python benchmarks/bench_dashboard.py [MODELS...]`, on the bundled model.

A real server and a real Chromium share the cores of this machine. A neuron is on screen
when the heading names it, its examples are drawn and the browser has painted after that.

    first   from the start of `solu dashboard` to the first neuron on screen, the browser already running
    next    from a click on Next to the next neuron on screen, one user
    crowd   the same, N users in windows of one browser, each looking at a neuron for THINK seconds
    memory  of the server's process while one user goes through many neurons

Results go to `results/dashboard.json`.
"""

import argparse
import asyncio
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
from playwright.async_api import async_playwright
from playwright.sync_api import Browser, Page, sync_playwright
from records import device_name, write_record

ROOT = Path(__file__).resolve().parent.parent
ARGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
MARKS = {"first neuron, s": 3.0, "next neuron, p95 ms": 250.0, "20 users, p95 ms": 1000.0}

# Resolves when the page shows a neuron, after the paint: milliseconds since `from` or since the click.
WALK = """
async ({ click, timeout }) => {
  const all = (root, selector, found = []) => {
    for (const e of root.querySelectorAll('*')) {
      if (e.matches(selector)) found.push(e);
      if (e.shadowRoot) all(e.shadowRoot, selector, found);
    }
    return found;
  };
  const state = () => {
    const headings = [...document.querySelectorAll('h1, h2, h3')];
    const heading = headings.find((h) => /neuron \\d+/.test(h.textContent));
    const list = all(document, '.list').find((l) => l.dataset.version);
    if (!heading || !list) return null;
    const number = heading.textContent.match(/neuron (\\d+)/)[1];
    const drawn = list.dataset.version.split(' ').includes(number) && list.querySelector('.example');
    return drawn ? number : null;
  };
  const before = state();
  const start = performance.now();
  if (click) {
    const button = [...document.querySelectorAll('button')].find((b) => b.textContent.includes('Next'));
    if (!button || button.disabled) return null;
    button.click();
  }
  while (true) {
    const now = state();
    if (now && now !== (click ? before : null)) break;
    if (performance.now() - start > timeout) throw new Error('no neuron in time');
    await new Promise(requestAnimationFrame);  // looking is not free: once a frame
  }
  await new Promise((r) => requestAnimationFrame(() => setTimeout(r)));
  return performance.now() - start;
}
"""


class Server:
    """A `solu dashboard` of a checkout, on a free port."""

    def __init__(self, models: list[Path], root: Path = ROOT) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        command = [sys.executable, "-c", "from dashboard.cli import main; main()", "dashboard", "--headless"]
        command += ["--port", str(self.port), "--address", "127.0.0.1"]
        for folder in models:
            command += ["--models", str(folder)]
        self.started = time.perf_counter()
        self.process = subprocess.Popen(
            command, cwd=root, env=os.environ | {"PYTHONPATH": str(root)}, stdout=subprocess.DEVNULL
        )
        self.url = f"http://127.0.0.1:{self.port}"

    def wait(self) -> None:
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.01)

    @property
    def megabytes(self) -> float:
        """Return the resident memory of Streamlit's process."""
        server = psutil.Process(self.process.pid).children(recursive=True)
        return sum(child.memory_info().rss for child in server) / 1e6

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)


def first_neuron(browser: Browser, models: list[Path]) -> float:
    """Return the seconds from the server's start to a neuron on screen."""
    page = browser.new_page()
    server = Server(models)
    try:
        server.wait()
        while True:
            try:
                page.goto(server.url)
                break
            except Exception:  # the port is bound a moment before it answers
                time.sleep(0.01)
        page.evaluate(WALK, {"click": False, "timeout": 60000})
        return time.perf_counter() - server.started
    finally:
        page.close()
        server.stop()


def opened(browser: Browser, url: str, neuron: int) -> Page:
    page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    page.goto(f"{url}/?neuron={neuron}")
    page.evaluate(WALK, {"click": False, "timeout": 120000})
    return page


def walk(page: Page, n: int, think: float = 0.3) -> list[float]:
    """Return the milliseconds of `n` clicks."""
    times = []
    for _ in range(n):
        page.wait_for_timeout(1000 * think)
        took = page.evaluate(WALK, {"click": True, "timeout": 60000})
        if took is None:
            break
        times.append(took)
    return times


async def crowd(url: str, found: str, users: int, clicks: int, think: float) -> list[float]:
    """Return the times of several users, each in an own window; all windows open before the first click."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=found, args=ARGS)
        pages = []
        for which in range(users):
            page = await (await browser.new_context(viewport={"width": 1440, "height": 900})).new_page()
            await page.goto(f"{url}/?neuron={which * 70}", timeout=120000)
            await page.evaluate(WALK, {"click": False, "timeout": 120000})
            pages.append(page)

        async def user(which: int) -> list[float]:
            await asyncio.sleep(think * which / users)
            times = []
            for _ in range(clicks):
                await asyncio.sleep(think)
                times.append(await pages[which].evaluate(WALK, {"click": True, "timeout": 120000}))
            return [time for time in times if time is not None]

        times = await asyncio.gather(*(user(which) for which in range(users)))
        await browser.close()
        return [time for mine in times for time in mine]


def quantiles(times: list[float]) -> dict[str, Any]:
    cuts = statistics.quantiles(times, n=20)
    return {"n": len(times), "p50_ms": round(statistics.median(times)), "p95_ms": round(cuts[18])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("models", nargs="*", type=Path)
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--clicks", type=int, default=60)
    parser.add_argument("--users", type=int, default=20, help="0: leave the crowd out")
    parser.add_argument("--crowds", type=int, default=3, help="how often the crowd comes")
    parser.add_argument("--think", type=float, default=5.0)
    parser.add_argument("--views", type=int, default=2000, help="for the memory; 0 to leave it out")
    parser.add_argument("--name", default="dashboard")
    args = parser.parse_args()
    found = shutil.which("chromium") or sys.exit("chromium is needed: apt-get install chromium")
    print(device_name("cpu"))
    rows: list[dict[str, Any]] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=ARGS)
        if args.starts:
            starts = [first_neuron(browser, args.models) for _ in range(args.starts)]
            rows.append({"what": "first", "n": len(starts), "median_s": round(statistics.median(starts), 2),
                         "worst_s": round(max(starts), 2)})  # fmt: skip
            print(rows[-1])
        server = Server(args.models)
        try:
            server.wait()
            page = opened(browser, server.url, 0)
            walk(page, 5)
            rows.append({"what": "next"} | quantiles(walk(page, args.clicks)))
            print(rows[-1])
            for _ in range(args.crowds if args.users else 0):
                users = crowd(server.url, found, args.users, 8, args.think)
                with ThreadPoolExecutor(1) as thread:  # this one has the loop of the other browser
                    times = thread.submit(asyncio.run, users).result()
                rows.append({"what": "crowd", "users": args.users, "think_s": args.think} | quantiles(times))
                print(rows[-1])
            if args.views:
                rows.append({"what": "memory"} | memory(server, browser, args.views))
                print(rows[-1])
        finally:
            server.stop()
            browser.close()
    write_record(args.name, "cpu", {"marks": MARKS}, rows)
    print(json.dumps(MARKS))


def memory(server: Server, browser: Browser, views: int) -> dict[str, Any]:
    """Return the server's memory after each tenth of `views` neurons; the first tenth fills its caches."""
    seen = []
    page = opened(browser, server.url, 0)
    for tenth in range(10):
        for _ in range(views // 10):
            if page.evaluate(WALK, {"click": True, "timeout": 60000}) is None:
                page.goto(f"{server.url}/?neuron={tenth}")
                page.evaluate(WALK, {"click": False, "timeout": 60000})
        seen.append(round(server.megabytes))
    return {"views": views, "megabytes": seen}


if __name__ == "__main__":
    main()
