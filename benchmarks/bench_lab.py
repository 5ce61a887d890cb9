"""Response times of the lab over whole contexts: `python benchmarks/bench_lab.py`.

The model runs over the cache's sample, at most a million tokens, unless it was done before. This takes 3 GB
of disk for each hook of the bundled model. Then hypotheses are tested as on the page, each for the first
time.

Results go to `results/lab.json`.
"""

import argparse
import itertools
import statistics
import time

from records import device_name, write_record

from dashboard.lab.counterexamples import find_counterexamples
from dashboard.lab.rankings import rank_neurons
from dashboard.lab.sample_activations import Sample, available_samples, make_sample
from dashboard.lab.sample_marks import context_indices, mark_sample
from dashboard.lab.service import consistency_by_hook, detection_by_hook
from dashboard.shared.address import Address
from dashboard.shared.place import Place
from dashboard.shared.places import find_place

NEURON_MARK = 2.0
"""Target in seconds for a hypothesis and one neuron at both hooks."""
LAYER_MARK = 20.0
"""Target in seconds for a hypothesis and all neurons of a layer at one hook."""

HYPOTHESES = [
    "/[0-9a-f]{8,}/i",
    "/\\b[A-Z]{2,}\\b/",
    "before /,/ and /[0-9]/",
    'token " the" " The" "The"',
    'source "base64_hex" and not /\\s/',
    "/[A-Z][a-z]+/ within 5 of /[0-9]{4}/",
]


def made(place: Place, n_tokens: int) -> tuple[Sample, float | None]:
    """Return the largest sample up to `n_tokens`, and the seconds to make it; None if it existed."""
    sample = [s for s in available_samples(place) if s.n_tokens <= n_tokens][-1]
    if sample.is_ready:
        return sample, None
    start = time.perf_counter()
    make_sample(place, sample, lambda _: None)
    return sample, time.perf_counter() - start


def one_neuron(place: Place, text: str, sample: Sample) -> dict[str, float]:
    """Return the seconds of each computation for one neuron, with a new hypothesis."""
    found, start = {}, time.perf_counter()
    for name, ask in {
        "matching": lambda: mark_sample(place, text, sample.n_contexts),
        "consistency": lambda: consistency_by_hook(place, text, sample),
        "detection": lambda: detection_by_hook(place, text, sample),
        "counterexamples": lambda: find_counterexamples(place, text, sample),
    }.items():
        before = time.perf_counter()
        ask()
        found[name] = time.perf_counter() - before
    return found | {"all": time.perf_counter() - start}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", help="its name; the first one by default")
    parser.add_argument("--neurons", type=int, nargs="+", default=[539, 7], help="of the first layer")
    parser.add_argument("--tokens", type=int, default=1_000_000, help="the sample's most tokens")
    parser.add_argument("--layers", type=int, default=2, help="hypotheses that all neurons are asked")
    args = parser.parse_args()
    print(device_name("cpu"))
    places = [find_place(Address(args.model, neuron=neuron)) for neuron in args.neurons]
    sample, seconds = made(places[0], args.tokens)
    context_indices(places[0], sample.n_contexts)  # the texts are in memory, as after the first question
    rows = []
    for text, place in zip(HYPOTHESES, itertools.cycle(places), strict=False):
        times = one_neuron(place, text, sample)
        rows.append({"what": text, "neuron": place.neuron} | {k: round(v, 2) for k, v in times.items()})
        print(rows[-1])
    for text in HYPOTHESES[: args.layers]:
        told: list[float] = []
        start = time.perf_counter()
        rank_neurons(places[0], text, sample, told.append)
        rows.append({
            "what": text, "neurons": places[0].cache.d_mlp, "all": round(time.perf_counter() - start, 2),
            "progress_told": len(told),
        })  # fmt: skip
        print(rows[-1])
    one = [row["all"] for row in rows if "neuron" in row]
    settings = {
        "model": places[0].model.name,
        "tokens": sample.n_tokens,
        "hooks": places[0].cache.hooks,
        "seconds that the sample took": seconds and round(seconds, 1),
        "gigabytes of the sample": round(sample.n_bytes / 1e9, 2),
        "mark, seconds of a neuron": NEURON_MARK,
        "mark, seconds of a layer": LAYER_MARK,
        "a neuron, median and worst": [round(statistics.median(one), 2), max(one)],
        "a layer, worst": max((row["all"] for row in rows if "neurons" in row), default=None),
    }
    print(settings)
    write_record("lab", "cpu", settings, rows)


if __name__ == "__main__":
    main()
