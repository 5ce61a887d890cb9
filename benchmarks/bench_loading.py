"""Time and memory of loading a checkpoint: `python benchmarks/bench_loading.py`.

A model of this package and a GPT-2 of some 450 MB each, with random weights, are loaded in processes of their
own. CPU seconds are compared with those of reading the file into memory, in the same process; the growth of
peak resident memory with the size of the weights. The file is in the page cache throughout. The least of
`--repeats` processes counts, since other programs share the machine.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from records import device_name, write_record
from transformers import GPT2Config, GPT2LMHeadModel

from solu_model.config import SoluConfig
from solu_model.loading.checkpoints import save_checkpoint
from solu_model.model import SoluForCausalLM

ROOT = Path(__file__).parents[1]
D_MODEL, N_LAYERS, D_VOCAB, N_CTX = 1024, 8, 8192, 1024

LOAD = """
import json, sys, time
from pathlib import Path

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024

def restart_peak():
    Path("/proc/self/clear_refs").write_text("5")
    return peak()

from solu_model.loading.adapters import AdaptedModel, adapt, load_any_model
load_any_model(sys.argv[2])  # imports all that loading needs

folder = Path(sys.argv[1])
started, cpu = time.perf_counter(), time.process_time()
data = (folder / "model.safetensors").read_bytes()
read, read_cpu = time.perf_counter() - started, time.process_time() - cpu
size = len(data)
del data
before = restart_peak()
started, cpu = time.perf_counter(), time.process_time()
model, _ = load_any_model(folder)
row = {"load_s": time.perf_counter() - started, "load_cpu_s": time.process_time() - cpu}
row |= {"bytes": size, "read_s": read, "read_cpu_s": read_cpu, "peak_bytes": peak() - before}
row |= {"measure_s": 0.0, "measure_cpu_s": 0.0}
if isinstance(model, AdaptedModel):
    started, cpu = time.perf_counter(), time.process_time()
    adapt(model.model)
    row |= {"measure_s": time.perf_counter() - started, "measure_cpu_s": time.process_time() - cpu}
print(json.dumps(row))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    print(device_name("cpu"))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("solu", "gpt2"):
            large, small = (Path(folder) / f"{kind}-{size}" for size in ("large", "small"))
            write(kind, large, N_LAYERS, D_MODEL)
            write(kind, small, 1, 64)
            command = [sys.executable, "-c", LOAD, str(large), str(small)]
            runs = []
            for _ in range(args.repeats):
                done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
                runs.append(json.loads(done.stdout.splitlines()[-1]))
            row = {"model": kind, "bytes": runs[0]["bytes"]}
            times = ("read_s", "read_cpu_s", "load_s", "load_cpu_s", "measure_s", "measure_cpu_s")
            times += ("peak_bytes",)
            row |= {name: min(run[name] for run in runs) for name in times}
            row["load_over_read"] = (row["load_cpu_s"] - row["measure_cpu_s"]) / row["read_cpu_s"]
            row["peak_over_weights"] = row["peak_bytes"] / row["bytes"]
            rows.append(row)
            print(
                f"{kind:6} {row['bytes'] / 1e6:4.0f} MB: "
                f"read {row['read_s']:.2f} s ({row['read_cpu_s']:.2f} CPU), "
                f"load {row['load_s']:.2f} s ({row['load_cpu_s']:.2f} CPU), "
                f"{row['measure_s']:.2f} s of it to measure effects; "
                f"without: {row['load_over_read']:.2f} times reading, "
                f"peak {row['peak_over_weights']:.2f} times the weights"
            )
    settings = {"d_model": D_MODEL, "n_layers": N_LAYERS, "d_vocab": D_VOCAB, "repeats": args.repeats}
    write_record("loading-cpu", "cpu", settings, rows)


def write(kind: str, folder: Path, n_layers: int, d_model: int) -> None:
    """Write a checkpoint in float32 with random weights."""
    if kind == "solu":
        sizes = {"d_model": d_model, "d_mlp": 4 * d_model, "n_heads": d_model // 64}
        save_checkpoint(
            SoluForCausalLM(SoluConfig(d_vocab=D_VOCAB, n_ctx=N_CTX, n_layers=n_layers, **sizes)), folder
        )
    else:
        sizes = {"n_embd": d_model, "n_head": d_model // 64, "n_layer": n_layers}
        GPT2LMHeadModel(
            GPT2Config(vocab_size=D_VOCAB, n_positions=N_CTX, tie_word_embeddings=False, **sizes)
        ).save_pretrained(folder)


if __name__ == "__main__":
    main()
