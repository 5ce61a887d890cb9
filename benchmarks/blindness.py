"""Test of a study's blinding: `python benchmarks/blindness.py MODEL MODEL`

A study of two models is rated in a real Chromium from a real server. All data that the browser receives is
kept, searched for names, hashes, paths, hooks and origins, and given to cross-validated classifiers, which
are compared with shuffled sides:

    around    all that comes with a card except its picture; must be at chance
    shading   the steps alone, and the text alone; these are rated and may differ; also in other shades

Results go to `results/blindness.json`.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from blind_capture import Capture, leaks
from blind_features import Steps, against_chance, area, around, shading, steps_of, text
from playwright.sync_api import sync_playwright
from records import write_record

from cache.reader import NeuronCache
from dashboard.shared.annotations.database import Database
from dashboard.studies.plan.cards import make_cards
from dashboard.studies.plan.design import Plan, new_design
from dashboard.studies.plan.sampling import draw, side_of
from dashboard.studies.storage.store import StudyStore

ROOT = Path(__file__).resolve().parent.parent
ARGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


@contextmanager
def serving(models: list[Path], url: str) -> Iterator[str]:
    """Yield the address of a dashboard that shows the models and keeps studies in the database `url`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", str(ROOT / "dashboard" / "app.py")]
    command += ["--server.port", str(port), "--server.address", "127.0.0.1", "--server.headless", "true"]
    roots = os.pathsep.join(str(m.parent) for m in models)
    environment = os.environ | {
        "SOLU_MODELS": roots, "PYTHONPATH": str(ROOT), "SOLU_ANNOTATIONS": url, "SOLU_USER": "rater",
    }  # fmt: skip
    server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait(f"http://127.0.0.1:{port}/_stcore/health")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(30)


def rated(models: list[Path], study: str, url: str) -> Capture:
    """Rate a study on a server that shows the models, and return everything received."""
    with serving(models, url) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGS)
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        capture = Capture(page)
        capture.rate_all(f"{address}/rate?study={study}")
        browser.close()
    return capture


def wait(address: str) -> None:
    """Wait until a server responds."""
    for _ in range(600):
        try:
            with urllib.request.urlopen(address, timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"{address} did not answer within a minute")


def other_ways(steps: Steps) -> dict[str, Steps]:
    """Return the same cards in other shadings by magnitude."""
    largest = np.maximum(1, steps.max(2, keepdims=True))
    return {
        "as shown": steps,
        "steps below 2 left out": np.where(steps < 2, 0, steps),
        "steps below 4 left out": np.where(steps < 4, 0, steps),
        "4 shades": np.ceil(steps / 4).astype(np.int64) * 4,
        "each snippet on its own scale": np.rint(15 * steps / largest).astype(np.int64),
    }


def secrets_of(plan: Plan, caches: list[NeuronCache], models: list[Path]) -> list[str]:
    """Return what must not be received: names, hashes, paths, hooks, origins of sources, the salt."""
    sides = plan.design.sides
    origins = {d.origin for cache in caches for d in cache.documents().values() if len(d.origin) > 8}
    return [
        *(s.model for s in sides), *(s.model_sha256[:12] for s in sides), *(s.corpus[:12] for s in sides),
        *(str(m) for m in models), "hook_mid", "hook_post", "hook_pre", plan.salt, *sorted(origins)[:2_000],
    ]  # fmt: skip


def cards_of(plan: Plan, caches: list[NeuronCache]) -> list[dict[str, Any]]:
    """Return a plan's cards in order."""
    made = make_cards(plan, caches)
    return [json.loads(made[item.name]) for item in plan.items]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("models", type=Path, nargs=2, help="folders with a cache in neurons/")
    parser.add_argument("--neurons", type=int, default=60, help="rated in the browser, a model")
    parser.add_argument("--drawn", type=int, default=400, help="of which the shading is classified, a model")
    given = parser.parse_args()
    caches = [NeuronCache.open(model / "neurons") for model in given.models]
    sides = tuple(side_of(m.name, c) for m, c in zip(given.models, caches, strict=True))
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/studies.sqlite"
        store = StudyStore(Database(url))
        fields: dict[str, Any] = {"title": "a study", "sides": sides, "n_neurons": given.neurons}
        plan = draw(new_design(**fields), caches)
        study = store.create(plan, make_cards(plan, caches))
        capture = rated(given.models, study, url)
        assert len(store.ratings(study)) == len(plan.items)
    found = leaks(capture.received, secrets_of(plan, caches, given.models))
    items = {item.name: item for item in plan.items}
    shown = [e for e in capture.exchanges[1:] if items[e["card"]["item"]].kind == "neuron"]
    own = np.array([items[e["card"]["item"]].side for e in shown])
    rows: list[dict[str, Any]] = [
        {"what": "search", "things": len(capture.received), "leaks": found,
         "frames_while_rating": sum(e["n_frames"] for e in capture.exchanges[1:]),
         "bytes": sum(len(r.data) for r in capture.received)},
    ]  # fmt: skip
    for trees in (False, True):
        row = against_chance(around(shown), own, trees, 30 if trees else 200)
        rows.append({"what": "around", "classifier": "trees" if trees else "logistic", "n": len(own), **row})
    painted = [e["ms_to_paint"] for e in capture.exchanges[1:]]
    rows.append({"what": "key to next card painted, ms", "p50": round(float(np.median(painted)), 1),
                 "p95": round(float(np.quantile(painted, 0.95)), 1)})  # fmt: skip

    wide = draw(new_design(**(fields | {"n_neurons": given.drawn, "n_repeats": 0, "n_checks": 0})), caches)
    cards = cards_of(wide, caches)
    by_rank = cards_of(replace(wide, design=replace(wide.design, shading="rank")), caches)
    which = np.array([item.side for item in wide.items])
    for name, steps in (other_ways(steps_of(cards)) | {"by rank": steps_of(by_rank)}).items():
        features = shading(steps)
        both = {k: round(area(features, which, t), 3) for k, t in (("logistic", False), ("trees", True))}
        rows.append({"what": "shading", "shades": name, "n": len(which), "auc": both})
    words = text(cards)
    both = {k: round(area(words, which, t), 3) for k, t in (("logistic", False), ("trees", True))}
    rows.append({"what": "text", "n": len(which), "auc": both})
    settings = {
        "models": [s.model for s in sides],
        "hooks": [s.hook for s in sides],
        "neurons": given.neurons,
    }
    print(write_record("blindness", "cpu", settings, rows).read_text())


if __name__ == "__main__":
    main()
