"""Speed and memory of the activation: `python benchmarks/bench_activation.py`.

LN(x * softmax(x)) by the fused operation, by plain PyTorch ("eager"), by torch.compile of that, and
GELU for scale; forward alone, and forward with backward; 2^23 values in rows of each width.

The implementations take turns, so that a slow moment of the machine affects all of them. Medians and their
ratios are printed. On CPU everything is timed twice: with glibc returning freed memory to the kernel, as in a
plain script, so that fresh outputs cost page faults; and with freed memory kept, as in training
(`solu_model.training`). Results go to `results/`, with the machine and the versions.
"""

import argparse
import gc
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from records import device_name, draw_activation, write_record
from torch import Tensor

from solu_model.activation import backend_name, solu_ln
from solu_model.training.memory import keep_freed_memory

WIDTHS = (1024, 2048, 4096, 8192, 16384, 32768)
VALUES = 2**23
EPS = 1e-5
Contestant = Callable[[Tensor, Tensor, Tensor], Tensor]


def eager(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Compute the activation in plain PyTorch."""
    return F.layer_norm(x * F.softmax(x, dim=-1), weight.shape, weight, bias, EPS)


def gelu(x: Tensor, _weight: Tensor, _bias: Tensor) -> Tensor:
    """Compute GELU in its tanh form, the activation of the baseline."""
    return F.gelu(x, approximate="tanh")


def fused(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Compute the activation by this package's operation."""
    return solu_ln(x, weight, bias, EPS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], default="float32")
    parser.add_argument("--repeats", type=int, default=21)
    parser.add_argument("--widths", type=int, nargs="+", default=WIDTHS)
    parser.add_argument(
        "--freed-memory", nargs="+", choices=["returned", "kept"], default=["returned", "kept"]
    )
    parser.add_argument("--name", help="of the files in results/; by default the device and dtype")
    args = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = getattr(torch, args.dtype)
    print(f"{device_name(device)}, {args.dtype}, backend {backend_name(device, dtype)}")
    name = args.name or f"activation-{device}-{args.dtype}"
    settings = {"dtype": args.dtype, "values": VALUES, "repeats": args.repeats}
    settings |= {"backend": backend_name(device, dtype)}
    rows = []
    for kept in [m == "kept" for m in args.freed_memory] if device == "cpu" else [True]:
        if kept:
            keep_freed_memory()
        for width in args.widths:
            rows += measure(width, dtype, device, args.repeats, kept)
            record = write_record(name, device, settings, rows)
    print(f"wrote {record.name} and {draw_activation(record).name}")


def measure(width: int, dtype: torch.dtype, device: str, repeats: int, kept: bool) -> list[dict[str, Any]]:
    """Return median times and peak memory of every implementation at one width."""
    torch.manual_seed(0)
    torch.compiler.reset()
    contestants: dict[str, Contestant] = {"fused": fused, "eager": eager, "gelu": gelu}
    contestants["compiled"] = torch.compile(eager, dynamic=False)
    x, grad = (torch.randn(VALUES // width, width, device=device).to(dtype) for _ in range(2))
    parameters = [
        torch.ones(width, device=device, dtype=dtype),
        torch.zeros(width, device=device, dtype=dtype),
    ]

    def forward(f: Contestant) -> None:
        with torch.no_grad():
            f(x, *parameters)

    leaves = [t.detach().requires_grad_() for t in (x, *parameters)]

    def both(f: Contestant) -> None:
        for leaf in leaves:
            leaf.grad = None
        f(*leaves).backward(grad)

    results = []
    for what, run in (("forward", forward), ("forward+backward", both)):
        for f in contestants.values():
            for _ in range(4):
                run(f)
        times: dict[str, list[float]] = {name: [] for name in contestants}
        gc.collect()
        for _ in range(repeats):
            for name, f in contestants.items():
                times[name].append(seconds(lambda f=f, run=run: run(f), device))
        alone = one_thread({n: lambda f=f, run=run: run(f) for n, f in contestants.items()}) if kept else {}
        medians = {name: statistics.median(t) for name, t in times.items()}
        for name, f in contestants.items():
            results.append(
                {
                    "width": width,
                    "pass": what,
                    "freed_memory": "kept" if kept else "returned",
                    "contestant": name,
                    "ms": round(1e3 * medians[name], 3),
                    "ms_best": round(1e3 * min(times[name]), 3),
                    "ms_of_one_thread": round(1e3 * alone[name], 3) if name in alone else None,
                    "peak_mib": round(peak_bytes(lambda f=f, run=run: run(f), leaves, device) / 2**20, 1)
                    if kept
                    else None,
                    "over_gelu": round(medians[name] / medians["gelu"], 3),
                    "over_eager": round(medians[name] / medians["eager"], 3),
                }
            )
        line = ", ".join(f"{n} {1e3 * m:.1f}" for n, m in medians.items())
        best = {name: min(t) for name, t in times.items()}
        ratios = [
            f"{label} fused/gelu {t['fused'] / t['gelu']:.2f} eager/fused {t['eager'] / t['fused']:.2f}"
            for label, t in (("median", medians), ("best", best), ("one thread", alone))
            if t
        ]
        memory = "kept" if kept else "returned"
        print(f"{width:6} {what:17} memory {memory:9} ms: {line}; {', '.join(ratios)}", flush=True)
    return results


def one_thread(runs: dict[str, Callable[[], None]]) -> dict[str, float]:
    """Return the median processor time on one thread, which a busy machine does not change."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(7):
        for name, run in runs.items():
            began = time.thread_time()
            run()
            times[name].append(time.thread_time() - began)
    torch.set_num_threads(threads)
    return {name: statistics.median(t) for name, t in times.items()}


def seconds(run: Callable[[], None], device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    run()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def peak_bytes(run: Callable[[], None], leaves: list[Tensor], device: str) -> int:
    """Return the peak memory beyond inputs without gradients, as counted by torch."""
    for leaf in leaves:
        leaf.grad = None
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return torch.cuda.max_memory_allocated() - before
    with torch.profiler.profile(profile_memory=True) as profile:
        run()
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


if __name__ == "__main__":
    main()
