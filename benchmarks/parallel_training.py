"""One run in every layout of processes, and killed and resumed: how far are losses and gradients apart?

python benchmarks/parallel_training.py --data TEXT

Each layout is started by torchrun on gloo, one thread a process, in float32; the plain run is one process
without it. About three minutes on two cores, which the processes of four share.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import psutil
import torch
import torch.distributed as dist
from records import write_record
from rich.console import Console
from rich.table import Table
from safetensors.torch import load_file
from torch.distributed.tensor.debug import CommDebugMode

from solu_model import SoluConfig
from solu_model.model import SoluForCausalLM
from solu_model.training import Layout, Recipe, last_checkpoint, read_metrics, train
from solu_model.training.processes import processes
from solu_model.training.sharding import spread, whole

CONFIG = SoluConfig(d_vocab=1024, n_ctx=128, d_model=64, n_heads=1, d_mlp=256, n_layers=2, n_mlp_blocks=2)
RECIPE = Recipe(
    n_tokens=100 * 1024, batch_tokens=1024, warmup_steps=10, tokenizer_sample=1.0, bf16=False, log_every=2,
    save_every=10,
)  # fmt: skip
LAYOUTS = {
    "one process": (1, 1, 1),
    "2 replicas": (2, 1, 1),
    "2 shards (FSDP2)": (2, 2, 1),
    "2 tensor parallel": (2, 1, 2),
    "2 shards of 2 tensor parallel": (4, 2, 2),
}
"""Processes, and how many of them are shards and tensor parallel parts."""


def worker(data: str, out: Path, layout: Layout) -> None:
    """What each process does: the run, then one step from the first weights on fixed tokens."""
    torch.set_num_threads(1)
    if "RANK" in os.environ:
        dist.init_process_group("gloo")
    train(CONFIG, RECIPE, [data], out, layout=layout, progress=False)
    tokens = torch.arange(8 * CONFIG.n_ctx).reshape(8, CONFIG.n_ctx) * 7 % CONFIG.d_vocab
    with processes(layout) as those, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of CommDebugMode's hooks
        torch.manual_seed(0)
        model = SoluForCausalLM(CONFIG).train()
        spread(model, those)
        mine = tokens.chunk(those.n_parts)[those.part]
        with CommDebugMode() as forward:
            loss = model(input_ids=mine, labels=mine, use_cache=False).loss
        with CommDebugMode() as backward:
            loss.backward()
        found = {n: whole(p.grad).clone() for n, p in model.named_parameters() if p.grad is not None}
        step = {"loss": those.mean(loss.detach()), "gradients": found}
        if those.is_first:
            calls = {"forward": counts(forward), "backward": counts(backward)}
            torch.save(step | calls, out / "step.pt")
    if dist.is_initialized():
        dist.destroy_process_group()


def counts(mode: Any) -> dict[str, int]:
    """How often each kind of collective ran."""
    return {str(kind).rpartition(".")[2]: n for kind, n in mode.get_comm_counts().items() if n}


def started(data: str, out: Path, layout: tuple[int, int, int]) -> "subprocess.Popen[bytes]":
    """The run in a layout, begun or gone on with."""
    n, shard, tensor = layout
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(n)] if n > 1 else []
    command = [
        sys.executable,
        *launcher,
        __file__,
        "--data",
        data,
        "--worker",
        str(out),
        str(shard),
        str(tensor),
    ]
    quiet = subprocess.DEVNULL
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=quiet, stderr=quiet)


def killed(process: "subprocess.Popen[bytes]") -> None:
    """With SIGKILL: torchrun and its workers, which would outlive it."""
    for one in [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]:
        one.kill()
    process.wait()
    time.sleep(1)


def losses(out: Path) -> dict[int, float]:
    """The run's loss at each step that it logged, of which none may be there twice or out of order."""
    rows = read_metrics(out / "metrics.jsonl")
    steps = [int(row["step"]) for row in rows]
    assert steps == list(range(RECIPE.log_every, RECIPE.n_steps() + 1, RECIPE.log_every)), steps
    return {int(row["step"]): float(row["loss"]) for row in rows}


def compared(name: str, out: Path, alone: Path) -> dict[str, Any]:
    """How far a layout's numbers are from one process's."""
    one, other = losses(alone), losses(out)
    a, b = (torch.load(p / "step.pt", weights_only=True) for p in (alone, out))
    scale = torch.stack([g.norm() for g in a["gradients"].values()]).norm()
    apart = torch.stack([(a["gradients"][n] - g).norm() for n, g in b["gradients"].items()]).norm()
    return {
        "layout": name,
        "first loss apart": abs(a["loss"] - b["loss"]),
        "gradient apart, of its norm": float(apart / scale),
        f"loss apart over {RECIPE.n_steps()} steps": max(abs(one[s] - other[s]) for s in one),
        "collectives forward": b["forward"],
        "collectives backward": b["backward"],
    }


def kill_and_resume(data: str, folder: Path, alone: Path, layouts: list[str]) -> dict[str, Any]:
    """The run killed once in each layout at a moment drawn at random, and ended on one process."""
    out, chance, at = folder / "-".join(layouts).replace(" ", "_"), random.Random(0), []
    for layout in layouts:
        process, before = started(data, out, LAYOUTS[layout]), at[-1] if at else 0
        while (last := last_checkpoint(out / "checkpoints")) is None or _step(last) <= before:
            if process.poll() is not None:
                raise SystemExit(f"{layout}: ended before it was killed")
            time.sleep(0.01)
        time.sleep(chance.random() * 0.5)
        killed(process)
        at.append(_step(last_checkpoint(out / "checkpoints") or last))
    if started(data, out, LAYOUTS["one process"]).wait():
        raise SystemExit("the run could not be gone on with")
    one, other = losses(alone), losses(out)
    weights = [load_file(p / "model.safetensors") for p in (alone, out)]
    apart = [(w.float() - weights[1][n].float()).abs().max() for n, w in weights[0].items()]
    return {
        "killed on": ", then ".join(layouts),
        "gone on from steps": at,
        "logged": f"{len(other)} rows of {RECIPE.log_every} steps, each once",
        "loss apart": max(abs(one[s] - other[s]) for s in one),
        "bf16 weights apart": float(max(apart)),
    }


def _step(checkpoint: Path) -> int:
    return int(json.loads((checkpoint / "state.json").read_text())["step"])


def draw(title: str, rows: list[dict[str, Any]]) -> None:
    """A table of rows with the same fields."""
    table = Table(*rows[0], title=title)
    for row in rows:
        table.add_row(*map(_cell, row.values()))
    Console(width=200).print(table)


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{n} {kind.strip('_')}" for kind, n in value.items()) or "none"
    return f"{value:.1e}" if isinstance(value, float) else str(value)


def main() -> None:
    """The tables, and `results/parallel-training.json`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="text to train on; a few megabytes are enough")
    parser.add_argument("--worker", nargs=3, metavar=("OUT", "SHARD", "TENSOR"), help=argparse.SUPPRESS)
    said = parser.parse_args()
    if said.worker:
        out, shard, tensor = said.worker
        worker(said.data, Path(out), Layout(int(shard), int(tensor)))
        return
    with tempfile.TemporaryDirectory() as folder:
        alone = Path(folder) / "one_process"
        for name, layout in LAYOUTS.items():
            if started(said.data, Path(folder) / name.replace(" ", "_"), layout).wait():
                raise SystemExit(f"{name}: failed")
        equal = [compared(n, Path(folder) / n.replace(" ", "_"), alone) for n in LAYOUTS]
        draw("The same run in every layout, against one process (nats per token)", equal)
        orders = [["one process"] * 3, ["2 shards (FSDP2)", "2 tensor parallel", "2 replicas"]]
        resumed = [kill_and_resume(said.data, Path(folder), alone, order) for order in orders]
        draw("Killed with SIGKILL and gone on with; the last part on one process", resumed)
    settings = {"config": CONFIG.to_diff_dict(), "steps": RECIPE.n_steps(), "precision": "float32"}
    write_record("parallel-training", "cpu", settings, [*equal, *resumed])


if __name__ == "__main__":
    main()
