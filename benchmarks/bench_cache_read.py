"""How long one neuron takes to read, by size of cache: `python benchmarks/bench_cache_read.py CACHE`.

CACHE is a real cache of the present format with at least 64 neurons a layer. From it two caches are made in a
temporary folder (`--folder`, several GB): one of 64 layers of 32,768 neurons and one of a thousand neurons.
They have every file, row and column of such caches; the contents are those of CACHE's neurons over and over,
under other numbers, and every layer's `profiles/` and `examples/` are hard links to the first layer's, so on
disk it is a 64th of a real one. `neurons.parquet` is written in full, with numbers of its own.

What is timed is what a neuron's page asks for at one hook: `top`, `histogram`, `moments` and `ranges`, at
neurons drawn uniformly. Cold: the neuron's files were dropped from the operating system's cache just before
(its disk may still hold them). Results go to `results/`.
"""

import argparse
import itertools
import json
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from records import device_name, write_record

from cache.format import schema
from cache.reader import NeuronCache
from cache.writing.cache_folder import COMPRESSION, NEURONS_IN_GROUP, small_groups

SHAPES = {"2 million neurons": (64, 32768), "1 thousand neurons": (1, 1024)}
MARK_MS = 5.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("cache", type=Path)
    parser.add_argument("--folder", type=Path, help="where to make them; kept, and used again if there")
    parser.add_argument("--reads", type=int, default=500)
    parser.add_argument("--name", default="cache-read")
    args = parser.parse_args()
    print(device_name("cpu"))
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        for name, (n_layers, d_mlp) in SHAPES.items():
            folder = (args.folder or Path(temporary)) / name.replace(" ", "-")
            if not folder.exists():
                make(args.cache, folder, n_layers, d_mlp)
            rows += [{"cache": name} | row for row in measure(folder, args.reads)]
    by_file = sizes(args.cache)
    settings = {
        "made_from": "a cache of the same format; contents repeat, layers are hard links",
        "examples_a_neuron_and_hook": examples_a_neuron(args.cache),
        "bytes_a_neuron": by_file,
        "reads": args.reads,
    }
    for row in rows:
        print("  ".join(f"{k}: {v}" for k, v in row.items()))
    print(f"bytes a neuron, all its hooks: {by_file}")
    record = write_record(args.name, "cpu", settings, rows)
    print(f"the mark: {MARK_MS} ms at the 95th percentile; wrote {record.name}")


def make(source: Path, folder: Path, n_layers: int, d_mlp: int) -> None:
    """A cache of this shape with the contents of another."""
    began = time.perf_counter()
    record = json.loads((source / schema.MANIFEST).read_text())
    per_part, hooks = record["neurons_per_part"], record["hooks"]
    folder.mkdir(parents=True)
    for name in (schema.VOCABULARY, schema.TOKENS, schema.SAMPLE, schema.DOCUMENTS):
        shutil.copy(source / name, folder / name)
    for kind in (schema.PROFILES, schema.EXAMPLES):
        parts = sorted((source / kind).rglob("*.parquet"))
        tables = [t for t in map(pq.read_table, parts) if t["neuron"][-1].as_py() % per_part == per_part - 1]
        (folder / kind / "0000").mkdir(parents=True)
        for first, table in zip(range(0, d_mlp, per_part), itertools.cycle(tables)):
            shift = first - table["neuron"][0].as_py()
            moved = table.set_column(
                table.column_names.index("neuron"),
                "neuron",
                pa.array(table["neuron"].to_numpy() + np.int32(shift), pa.int32()),
            )
            write_part(folder / kind / schema.part_name(0, first, per_part), moved)
        for layer in range(1, n_layers):
            (folder / kind / f"{layer:04d}").mkdir()
            for file in (folder / kind / "0000").iterdir():
                os.link(file, folder / kind / f"{layer:04d}" / file.name)
    write_neurons(source, folder, n_layers, d_mlp, hooks)
    record["model"] |= {"n_layers": n_layers, "d_mlp": d_mlp}
    record["layers"] = list(range(n_layers))
    (folder / schema.MANIFEST).write_text(json.dumps(record))
    print(f"made {n_layers} x {d_mlp:,} neurons in {time.perf_counter() - began:.0f} s", flush=True)


def write_part(file: Path, table: pa.Table) -> None:
    """As the writer does: a row group for every few neurons."""
    group = table["neuron"].to_numpy() // schema.NEURONS_PER_ROW_GROUP
    starts = [*np.flatnonzero(np.diff(group, prepend=-1)), len(table)]
    with pq.ParquetWriter(file, table.schema, **small_groups(table.schema)) as writer:
        for a, b in itertools.pairwise(starts):
            writer.write_table(table.slice(a, b - a), row_group_size=b - a)


def write_neurons(source: Path, folder: Path, n_layers: int, d_mlp: int, hooks: list[str]) -> None:
    """The table of all neurons: the source's rows over and over, each number changed a little."""
    rng = np.random.default_rng(0)
    found = pq.read_table(source / schema.NEURONS, filters=[("layer", "=", 0)])
    by_hook = {hook: found.filter(pa.compute.equal(found["hook"], hook)) for hook in hooks}
    with pq.ParquetWriter(folder / schema.NEURONS, schema.NEURONS_SCHEMA, **COMPRESSION) as writer:
        for layer in range(n_layers):
            for hook in hooks:
                rows = by_hook[hook].take(pa.array(np.arange(d_mlp) % len(by_hook[hook])))
                columns: dict[str, Any] = {name: rows[name] for name in rows.column_names}
                columns |= {
                    "layer": np.full(d_mlp, layer, np.int32),
                    "neuron": np.arange(d_mlp, dtype=np.int32),
                }
                for name in ("min", "max", "mean", "std", "skewness", "kurtosis", "density", "density_above"):
                    values = rows[name].to_numpy()
                    columns[name] = values * (1 + rng.random(d_mlp) / 100).astype(values.dtype)
                writer.write_table(
                    pa.table(columns, schema=schema.NEURONS_SCHEMA), row_group_size=NEURONS_IN_GROUP
                )


def measure(folder: Path, n_reads: int) -> list[dict[str, Any]]:
    """Times in milliseconds."""
    opening = []
    for _ in range(20):
        began = time.perf_counter()
        cache = NeuronCache.open(folder)
        opening.append(time.perf_counter() - began)
    rows = [row_of("open", opening)]
    rng = np.random.default_rng(1)
    began = time.perf_counter()
    read(cache, 0, 0)
    rows.append(row_of("first neuron after opening", [time.perf_counter() - began]))
    for state in ("warm", "cold"):
        times = []
        for _ in range(n_reads):
            layer, index = int(rng.choice(cache.layers)), int(rng.integers(cache.d_mlp))
            if state == "cold":
                drop(cache, layer, index)
            began = time.perf_counter()
            read(cache, layer, index)
            times.append(time.perf_counter() - began)
        rows.append(row_of(f"one neuron, {state}", times))
    return rows


def read(cache: NeuronCache, layer: int, index: int) -> None:
    """What is timed."""
    neuron, hook = cache.neuron(layer, index), cache.hooks[0]
    neuron.top(hook), neuron.histogram(hook), neuron.moments(hook), neuron.ranges(hook)


def drop(cache: NeuronCache, layer: int, index: int) -> None:
    """Take a neuron's files out of the operating system's cache."""
    part = schema.part_name(layer, index, cache.manifest.neurons_per_part or 1)
    for name in (f"{schema.PROFILES}/{part}", f"{schema.EXAMPLES}/{part}", schema.NEURONS):
        handle = os.open(cache.path / name, os.O_RDONLY)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)


def row_of(what: str, seconds: list[float]) -> dict[str, Any]:
    """Median, 95th percentile and the worst."""
    ms = np.array(seconds) * 1e3
    return {
        "what": what,
        "median_ms": round(float(np.median(ms)), 3),
        "p95_ms": round(float(np.quantile(ms, 0.95)), 3),
        "worst_ms": round(float(ms.max()), 3),
        "n": len(ms),
    }


def examples_a_neuron(folder: Path) -> float:
    """Kept on average."""
    cache = NeuronCache.open(folder)
    n = sum(pq.read_metadata(f).num_rows for f in (folder / schema.EXAMPLES).rglob("*.parquet"))
    return round(n / (len(cache.layers) * cache.d_mlp * len(cache.hooks)), 1)


def sizes(folder: Path) -> dict[str, int]:
    """Bytes a neuron, by file or folder."""
    cache = NeuronCache.open(folder)
    n = len(cache.layers) * cache.d_mlp
    found = {
        name: sum(f.stat().st_size for f in (folder / name).rglob("*.parquet")) // n
        for name in (schema.PROFILES, schema.EXAMPLES)
    }
    return found | {schema.NEURONS: (folder / schema.NEURONS).stat().st_size // n}


if __name__ == "__main__":
    main()
