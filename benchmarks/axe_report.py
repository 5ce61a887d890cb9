"""Accessibility of every page by axe, light and dark: `python benchmarks/axe_report.py`, bundled model.

Prints a table and writes `results/axe.json`: rules passed, and every violation with its impact and places.
"""

import shutil
import sys
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from bench_dashboard import ARGS, Server
from playwright.sync_api import Page, sync_playwright
from records import write_record

READY = ".example, .row, .js-plotly-plot, textarea, [data-testid=stHeading]"
PAGES = {
    "neuron": "/?neuron=539",
    "neuron, by range": "/?neuron=539&view=ranges&hook=hook_post",
    "neuron, tokens": "/?neuron=539&panel=tokens",
    "neuron, output": "/?neuron=539&panel=output",
    "neuron, similar": "/?neuron=539&panel=similar",
    "neuron, notes": "/?neuron=539&panel=notes",
    "neuron, download": "/?neuron=539&panel=download",
    "neuron, provenance": "/?neuron=539&panel=about",
    "two neurons": "/?neuron=539&beside=solu-1l/0/657",
    "neurons": "/neurons?sort=max",
    "neurons, a pattern": "/neurons?by=peaks&q=th",
    "layer": "/layer",
    "editor": "/editor?neuron=539&hook=hook_mid&example=top-0",
    "lab": "/lab?neuron=657&hypothesis=/%5B0-9%5D/",
    "lab, does it fire": "/lab?neuron=657&hypothesis=/%5B0-9%5D/&part=detects",
    "lab, saved": "/lab?neuron=657&hypothesis=/%5B0-9%5D/&part=saved",
    "lab, by hand": "/lab?neuron=657&hypothesis=/%5B0-9%5D/&part=hand",
    "labels": "/labels",
    "models": "/models",
    "no such neuron": "/?neuron=99999",
}


def checked(page: Page, url: str) -> dict[str, Any]:
    """Return what axe reports about a page after it has settled."""
    page.goto(url)
    page.wait_for_selector(f"{READY}, [role=alert]", timeout=60000)
    page.wait_for_timeout(4000)  # panels that load the model, figures that settle into their columns
    found = Axe().run(page).response
    return {
        "rules passed": len(found["passes"]),
        "violations": [
            {"rule": v["id"], "impact": v["impact"], "places": [n["html"][:160] for n in v["nodes"][:5]]}
            for v in found["violations"]
        ],
    }


def main() -> None:
    chromium = shutil.which("chromium") or sys.exit("chromium is needed: apt-get install chromium")
    rows: list[dict[str, Any]] = []
    server = Server([])
    server.wait()
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=ARGS)
            for scheme in ("light", "dark"):
                size = {"width": 1440, "height": 900}
                page = browser.new_context(viewport=size, color_scheme=scheme).new_page()  # type: ignore[arg-type]
                for name, path in PAGES.items():
                    rows.append({"page": name, "theme": scheme} | checked(page, server.url + path))
                    said = [f"{v['impact']}: {v['rule']}" for v in rows[-1]["violations"]]
                    print(f"{scheme:6}{name:22}{rows[-1]['rules passed']:4} rules passed  {', '.join(said)}")
            browser.close()
    finally:
        server.stop()
    write_record("axe", "cpu", {"width": 1440, "height": 900}, rows)


if __name__ == "__main__":
    main()
