"""Raters without a browser: a small study for tests, and a process that rates and says what was acknowledged.

python study_rater.py DATABASE STUDY RATER...: a thread a rater, each to its end; a line a kept rating.
"""

import sys
import threading

from dashboard.shared.annotations.database import Database
from dashboard.studies.plan.design import Item, Plan, Side, item_name, new_design
from dashboard.studies.storage.ratings import Rating
from dashboard.studies.storage.store import StudyStore

SALT = "5a17" * 16


def small_plan(n_neurons: int = 4, n_repeats: int = 2, n_checks: int = 2, title: str = "Rules") -> Plan:
    """A plan over two models that do not exist."""
    sides = tuple(Side(name, name * 64, "c" * 64, "hook_post", (0, 1)) for name in "ab")
    design = new_design(title=title, sides=sides, n_neurons=n_neurons, n_repeats=n_repeats, n_checks=n_checks)
    items = [
        Item(item_name(SALT, 1000 * side + i), "neuron", side, i % 2, 11 * i)
        for side in range(2)
        for i in range(n_neurons)
    ]
    items += [
        Item(item_name(SALT, 5000 + i), "repeat", o.side, o.layer, o.neuron, repeat_of=o.name)
        for i, o in enumerate(items[:n_repeats])
    ]
    items += [Item(item_name(SALT, 6000 + i), "check", expected="not") for i in range(n_checks)]
    return Plan(design, tuple(items), SALT)


def blank_cards(plan: Plan) -> dict[str, bytes]:
    """Cards of one size with nothing on them but the name."""
    return {item.name: b'{"item":"%s"}' % item.name.encode() for item in plan.items}


def rate_to_the_end(store: StudyStore, study: str, rater: str) -> None:
    """Rate every item that is left; say so after each."""
    while (item := store.next_item(study, rater)) is not None:
        store.rate(study, Rating(rater, item, "not", rule="λ", confidence=2, seconds=1.5))
        sys.stdout.write(f"{rater} {item}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    url, study, *raters = sys.argv[1:]
    store = StudyStore(Database(url))
    threads = [threading.Thread(target=rate_to_the_end, args=(store, study, rater)) for rater in raters]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
