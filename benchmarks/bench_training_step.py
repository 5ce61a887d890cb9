"""A whole training step with SoLU against the same with GELU: `python benchmarks/bench_training_step.py`.

Models of 1, 4 and 12 layers, otherwise the shape of `SoluConfig`; forward, loss, backward, gradient
clipping, AdamW, in bfloat16 autocast, with freed memory kept, as `solu train` does it. The contestants'
steps take turns; what is printed are medians and ratios. "solu_ln, definition" is the model with
the fused operation switched off. Results go to `results/`.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from records import device_name, draw_training_step, write_record

from solu_model.activation import backend_name
from solu_model.activation.op import ENVIRONMENT_VARIABLE
from solu_model.config import SoluConfig
from solu_model.model import SoluForCausalLM
from solu_model.training.memory import keep_freed_memory

CONTESTANTS = {
    "gelu": ("gelu", ""),
    "solu_ln, fused": ("solu_ln", ""),
    "solu_ln, definition": ("solu_ln", "reference"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--layers", type=int, nargs="+", default=[1, 4, 12])
    parser.add_argument("--batch", type=int, default=16, help="rows of 512 tokens a step")
    parser.add_argument("--seconds", type=float, default=40, help="to spend on each number of layers")
    parser.add_argument("--modes", nargs="+", choices=["eager", "compiled"], default=["eager"])
    parser.add_argument("--name", help="of the files in results/")
    args = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    keep_freed_memory()
    print(f"{device_name(device)}, backend {backend_name(device, torch.bfloat16)}")
    name = args.name or "-".join(["training-step", device, *(m for m in args.modes if m != "eager")])
    settings = {"batch": args.batch, "n_ctx": 512, "autocast": "bfloat16", "backend": backend_name(device)}
    rows = []
    for compiled in [mode == "compiled" for mode in args.modes]:
        for n_layers in args.layers:
            rows += measure(n_layers, args.batch, device, args.seconds, compiled)
            record = write_record(name, device, settings, rows)
    print(f"wrote {record.name} and {draw_training_step(record).name}")


def measure(n_layers: int, batch: int, device: str, budget: float, compiled: bool) -> list[dict[str, Any]]:
    """Median step times of the contestants at one depth."""
    torch.compiler.reset()
    steps = {}
    for name, (act_fn, backend) in CONTESTANTS.items():
        if compiled and backend:  # a compiled graph keeps the backend it was made with
            continue
        steps[name] = (
            backend,
            training_step(SoluConfig(n_layers=n_layers, act_fn=act_fn), batch, device, compiled),
        )
    times: dict[str, list[float]] = {name: [] for name in steps}
    began = time.perf_counter()
    while time.perf_counter() - began < budget or len(times["gelu"]) < 7:
        for name, (backend, step) in steps.items():
            os.environ[ENVIRONMENT_VARIABLE] = backend
            t = time.perf_counter()
            step()
            times[name].append(time.perf_counter() - t)
    os.environ.pop(ENVIRONMENT_VARIABLE)
    medians = {name: statistics.median(t[2:]) for name, t in times.items()}  # the first two warm up
    mode = "compiled" if compiled else "eager"
    line = ", ".join(f"{n} {m:.3f}" for n, m in medians.items())
    ratio = medians["solu_ln, fused"] / medians["gelu"]
    best = min(times["solu_ln, fused"]) / min(times["gelu"])
    print(
        f"{n_layers:2} layers, {mode}, s a step: {line}; fused/gelu {ratio:.3f}, best {best:.3f}", flush=True
    )
    return [
        {
            "n_layers": n_layers,
            "mode": mode,
            "model": name,
            "s_a_step": round(median, 4),
            "over_gelu": round(median / medians["gelu"], 4),
            "s_best": round(min(times[name]), 4),
            "best_over_gelu": round(min(times[name]) / min(times["gelu"]), 4),
            "steps": len(times[name]) - 2,
        }
        for name, median in medians.items()
    ]


def training_step(config: SoluConfig, batch: int, device: str, compiled: bool) -> Callable[[], None]:
    """One optimizer step of a fresh model on fixed random tokens."""
    torch.manual_seed(0)
    model = SoluForCausalLM(config).to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    tokens = torch.randint(config.d_vocab, (batch, config.n_ctx), device=device)
    forward = torch.compile(model) if compiled else model

    def step() -> None:
        with torch.autocast(device, torch.bfloat16):
            loss = forward(tokens, labels=tokens).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if device == "cuda":
            torch.cuda.synchronize()

    return step


if __name__ == "__main__":
    main()
