"""Memory and time of a build by the length of the text: `python benchmarks/bench_cache_memory.py TEXT`.

A small model with random weights (so that 20 million tokens take minutes) is cached over growing samples of
TEXT, a process each: peak resident memory and seconds of the whole build, writing included.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from records import device_name, write_record

from solu_model.config import SoluConfig
from solu_model.loading.checkpoints import load_tokenizer, save_checkpoint
from solu_model.model import SoluForCausalLM

ROOT = Path(__file__).parents[1]

BUILD = """
import json, resource, sys, time
from pathlib import Path
from cache.building.build import build_cache
from cache.building.engine import Options
model, out, sample, *data = sys.argv[1:]
started = time.perf_counter()
options = Options(sample=float(sample), device="cpu")
corpus = build_cache(Path(model), data, Path(out), options, progress=False).corpus
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"tokens": corpus.n_tokens, "seconds": time.perf_counter() - started, "peak_bytes": peak}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("text", nargs="+")
    parser.add_argument("--samples", type=float, nargs="+", default=[0.013, 0.026, 0.052, 0.26])
    parser.add_argument("--d-model", type=int, default=64)
    parser.add_argument("--name", default="cache-memory-cpu")
    args = parser.parse_args()
    print(device_name("cpu"))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        config = SoluConfig(d_model=args.d_model, d_mlp=4 * args.d_model, n_heads=max(1, args.d_model // 64))
        save_checkpoint(
            SoluForCausalLM(config), Path(folder) / "model", load_tokenizer(ROOT / "models/solu-1l")
        )
        for sample in args.samples:
            command = [
                sys.executable,
                "-c",
                BUILD,
                f"{folder}/model",
                f"{folder}/cache",
                str(sample),
                *args.text,
            ]
            done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
            row = json.loads(done.stdout.splitlines()[-1])
            row["tokens_per_s"] = row["tokens"] / row["seconds"]
            row["peak_over_first"] = row["peak_bytes"] / (rows[0] if rows else row)["peak_bytes"]
            rows.append(row)
            print(
                f"{row['tokens']:>12,} tokens {row['seconds']:8.1f} s {row['tokens_per_s']:10,.0f} tokens/s "
                f"{row['peak_bytes'] / 1e6:8.0f} MB ({row['peak_over_first']:.3f} of the first)"
            )
    write_record(args.name, "cpu", {"d_model": args.d_model, "d_mlp": 4 * args.d_model, "n_layers": 1}, rows)


if __name__ == "__main__":
    main()
