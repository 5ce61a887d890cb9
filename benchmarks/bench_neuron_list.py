"""Response times of a list of millions of neurons: `python benchmarks/bench_neuron_list.py`.

Writes a `neurons.parquet` of 64 layers of 32,768 neurons, with the schema, options and row groups of a real
cache and values like those of one, and queries pages of it as the dashboard does: filtered, sorted, counted.
No query is repeated, so that no result comes from a cache.

Results go to `results/neuron-list.json`.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from records import device_name, write_record

from cache.format import schema
from cache.writing.cache_folder import COMPRESSION, NEURONS_IN_GROUP
from dashboard.neurons.neuron_pages import PAGE_SIZE, page_of
from dashboard.shared.neuron_query import Interval, Query

MARK_MS = 500.0
"""Target for the 95% quantile of a page of 2 million neurons, filtered and sorted."""

SOURCES = ["web_en", "code_python", "docs_en", "books_de", "maths", "base64_hex"]


def neurons(layer: int, hook: str, d_mlp: int, random: np.random.Generator) -> pa.Table:
    """Make the rows of a layer at a hook: heavy tails, a few dead neurons, a few that are always on."""
    top = random.lognormal(0.5, 0.8, d_mlp) * np.where(random.random(d_mlp) < 0.01, 1e-6, 1)
    density = np.minimum(random.lognormal(-6, 1.5, d_mlp), 1)
    columns = {
        "layer": np.full(d_mlp, layer, np.int32),
        "neuron": np.arange(d_mlp, dtype=np.int32),
        "hook": [hook] * d_mlp,
        "count": np.full(d_mlp, 10**9),
        "n_nan": np.zeros(d_mlp, np.int64),
        "n_inf": np.zeros(d_mlp, np.int64),
        "min": -random.lognormal(-4, 1, d_mlp).astype(np.float32),
        "max": top.astype(np.float32),
        "mean": random.normal(0, 1e-3, d_mlp),
        "std": random.lognormal(-4, 1, d_mlp),
        "skewness": random.normal(8, 6, d_mlp),
        "kurtosis": random.lognormal(4.5, 1.7, d_mlp) - 2,
        "density": density,
        "density_above": top / 10,
        "peak_tokens": list(random.zipf(1.3, (d_mlp, 8)).clip(0, 50_000).astype(np.int32)),
        "best_source": np.array(SOURCES)[random.integers(0, len(SOURCES), d_mlp)],
        "best_source_share": random.beta(2, 4, d_mlp),
        "best_token": random.integers(0, 50_000, d_mlp).astype(np.int32),
    }
    return pa.table(columns, schema=schema.NEURONS_SCHEMA)


def write_neurons(folder: Path, layers: int, d_mlp: int, hooks: list[str]) -> Path:
    """Write the table of all neurons as `cache.writing.cache_folder` does."""
    random, file = np.random.default_rng(0), folder / schema.NEURONS
    with pq.ParquetWriter(file, schema.NEURONS_SCHEMA, **COMPRESSION) as writer:
        for layer in range(layers):
            for hook in hooks:
                writer.write_table(neurons(layer, hook, d_mlp, random), row_group_size=NEURONS_IN_GROUP)
    return file


def questions(hook: str, n: int, layers: int) -> dict[str, list[Query]]:
    """Return the kinds of queries, with `n` different queries of each."""
    steps = [round(i / n, 4) for i in range(n)]
    everywhere = Query(hook)
    return {
        "all layers, sorted by kurtosis, pages 1 to n": [everywhere.with_(page=1 + i) for i in range(n)],
        "all layers, filtered by two quantities, sorted by maximum": [
            everywhere.with_(
                intervals={"kurtosis": Interval(20 + s, None), "density": Interval(None, 0.01 + s / 100)},
                sort="max",
            )
            for s in steps
        ],
        "all layers, one source, share from x, sorted by density upward": [
            everywhere.with_(
                intervals={"share": Interval(0.3 + s / 10, None)},
                source="maths",
                sort="density",
                descending=False,
            )
            for s in steps
        ],
        "all layers, always on, sorted by skewness": [
            everywhere.with_(state="always", sort="skewness", intervals={"max": Interval(s / 100, None)})
            for s in steps
        ],
        "all layers, a page far down": [everywhere.with_(sort="max", page=20_000 - i) for i in range(n)],
        "one layer, sorted by kurtosis": [everywhere.with_(layer=i % layers) for i in range(n)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--layers", type=int, default=64)
    parser.add_argument("--d-mlp", type=int, default=32768)
    parser.add_argument("--hooks", nargs="+", default=["hook_mid", "hook_post"])
    parser.add_argument("--questions", type=int, default=20, help="of each kind")
    parser.add_argument("--keep", type=Path, help="write the table into this folder, or use the one there")
    args = parser.parse_args()
    print(device_name("cpu"))
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.keep or Path(temporary)
        file = folder / schema.NEURONS
        if not file.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            write_neurons(folder, args.layers, args.d_mlp, args.hooks)
        megabytes = round(file.stat().st_size / 1e6)
        rows, everything = [], []
        page_of(folder, Query(args.hooks[0], layer=0))  # DuckDB itself is loaded
        for name, asked in questions(args.hooks[0], args.questions, args.layers).items():
            times = []
            for query in asked:
                start = time.perf_counter()
                page = page_of(folder, query)
                times.append(1000 * (time.perf_counter() - start))
            everything += times
            rows.append({"what": name, "n": len(times), "total": page.total} | quantiles(times))
            print(rows[-1])
        rows.append({"what": "all of these", "n": len(everything)} | quantiles(everything))
        print(rows[-1])
    settings = {
        "layers": args.layers,
        "d_mlp": args.d_mlp,
        "hooks": args.hooks,
        "page": PAGE_SIZE,
        "megabytes": megabytes,
        "mark, p95 ms": MARK_MS,
    }
    write_record("neuron-list", "cpu", settings, rows)


def quantiles(times: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(times, n=20)
    return {"p50_ms": round(statistics.median(times)), "p95_ms": round(cuts[18])}


if __name__ == "__main__":
    main()
