"""A study rated by a program: `python benchmarks/study_by_rule.py MODEL MODEL [--picture FILE]`

A study of two models is planned, rated in a real Chromium by a program of a few lines, and unblinded on its
page. The program sees what a person sees: the peak token of each snippet, and the text before it. It calls a
neuron interpretable if one of its simple rules explains at least 80% of the snippets, and notes the rule. It
knows the form of texts and not their meaning; the results hold for this rater alone.

Prints the results in words, and writes `results/study-by-rule.json` and, on request, a picture of the
results.
"""

import argparse
import re
import tempfile
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from blindness import ARGS, serving
from playwright.sync_api import Page, sync_playwright
from records import write_record

from analysis.rating import compute_results, ratings_from_rows, summary_sentences
from cache.reader import NeuronCache
from dashboard.shared.annotations.database import Database
from dashboard.studies.plan.cards import make_cards
from dashboard.studies.plan.design import new_design
from dashboard.studies.plan.sampling import draw, side_of
from dashboard.studies.storage.export import rating_rows
from dashboard.studies.storage.store import StudyStore

TITLE = "Which neurons fire by a rule?"
SHARE = 0.8
FORMS = {
    "a number": r"\s*\d+",
    "capitals": r"\s*[A-Z]{2,}",
    "punctuation alone": r"\s*[^\w\s]+",
    "white space alone": r"\s+",
    "a capitalised word": r"\s*[A-Z][a-z]+",
    "the start of a word": r"\s+\w+",
    "another script": r"\s*[^\x00-\u024f]+",
}
SNIPPETS = """
  [document, ...[...document.querySelectorAll("*")].flatMap((e) => e.shadowRoot ?? [])]
    .flatMap((root) => [...root.querySelectorAll(".snippet")])
    .map((s) => { const peak = s.querySelector(".peak"); const text = s.querySelector(".text");
      const range = document.createRange(); range.setStart(text, 0); range.setEndBefore(peak);
      return [range.toString(), peak.textContent]; })
"""


def rule_of(snippets: list[list[str]]) -> str:
    """Return the simplest rule that explains enough of a card; empty for none."""
    wanted = SHARE * len(snippets)
    words = Counter(peak.strip().casefold() for _, peak in snippets)
    [(word, count)] = words.most_common(1)
    if count >= wanted:
        return f"the token {word!r}"
    for name, pattern in FORMS.items():
        if sum(re.fullmatch(pattern, peak) is not None for _, peak in snippets) >= wanted:
            return name
    before = Counter((re.findall(r"\w+|[^\w\s]", text) or [""])[-1].casefold() for text, _ in snippets)
    [(word, count)] = before.most_common(1)
    return f"after {word!r}" if count >= wanted else ""


def rate(page: Page, address: str, n_items: int) -> None:
    """Rate every card."""
    page.goto(address)
    page.locator(".go:visible").wait_for()
    page.keyboard.press("Enter")
    for number in range(1, n_items + 1):
        page.get_by_text(f"{number} of {n_items}", exact=True).wait_for()
        page.wait_for_timeout(450)  # sooner, a key would be the second press of the last one
        rule = rule_of(page.evaluate(SNIPPETS))
        if rule:
            page.keyboard.press("/")
            page.keyboard.type(rule)
            page.keyboard.press("Enter")
        page.keyboard.press("i" if rule else "n")
    page.get_by_text("All rated, thank you").wait_for()


def unblind(page: Page, address: str, picture: Path | None) -> None:
    """Unblind the study on its page, as a person does."""
    page.goto(address)
    page.get_by_text("Unblind and end the study").click()
    page.get_by_label("To continue, type the study's title").fill(TITLE)
    page.get_by_role("button", name="Unblind", exact=True).click()
    page.locator(".js-plotly-plot").first.wait_for(timeout=60_000)
    page.wait_for_timeout(3000)
    if picture is not None:
        page.screenshot(path=str(picture))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("models", type=Path, nargs=2, help="folders with a cache in neurons/")
    parser.add_argument("--neurons", type=int, default=60)
    parser.add_argument("--shading", default="magnitude")
    parser.add_argument("--picture", type=Path)
    given = parser.parse_args()
    caches = [NeuronCache.open(model / "neurons") for model in given.models]
    sides = tuple(side_of(m.name, c) for m, c in zip(given.models, caches, strict=True))
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/studies.sqlite"
        store = StudyStore(Database(url))
        fields: dict[str, Any] = {"title": TITLE, "sides": sides, "n_neurons": given.neurons}
        plan = draw(new_design(**fields, shading=given.shading), caches)
        study = store.create(plan, make_cards(plan, caches))
        with serving(given.models, url) as address, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGS)
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            rate(page, f"{address}/rate?study={study}", len(plan.items))
            unblind(page, f"{address}/study?study={study}", given.picture)
            browser.close()
        rows = rating_rows(plan.design, store.ratings(study), store.key(study))
    found = compute_results(ratings_from_rows(rows), [side.model for side in sides])
    print(*summary_sentences(found), sep="\n")
    rules = {
        side.model: Counter(row["rule"] for row in rows if row["model"] == side.model).most_common()
        for side in sides
    }
    settings = {
        "models": [s.model for s in sides],
        "hooks": [s.hook for s in sides],
        "neurons": given.neurons,
        "shading": given.shading,
        "rules": rules,
    }
    write_record("study-by-rule", "cpu", settings, [asdict(found)])


if __name__ == "__main__":
    main()
