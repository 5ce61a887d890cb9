"""Records of benchmarks: JSON with the machine and the versions, and figures of it."""

import json
import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import matplotlib as mpl
import torch

mpl.use("Agg")
from matplotlib import pyplot as plt

RESULTS = Path(__file__).parent / "results"
_COLOURS = {"fused": "#c0392b", "eager": "#7f8c8d", "compiled": "#2c7fb8", "gelu": "#2ca25f"}


def device_name(device: str) -> str:
    """Return the processor's model and cores, or the GPU's name."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        fields = dict(
            line.split(":", 1) for line in cpuinfo.read_text().split("\n\n")[0].splitlines() if ":" in line
        )
        named = {key.strip(): value.strip() for key, value in fields.items()}
        model = named.get("model name", model)
        if "model" in named:
            model += f" (family {named.get('cpu family')}, model {named['model']})"
    return f"{model}, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"


def write_record(name: str, device: str, settings: dict[str, Any], rows: list[dict[str, Any]]) -> Path:
    """Write `results/NAME.json`."""
    versions = {"python": platform.python_version()}
    for package in ("torch", "numba", "triton", "numpy", "transformers"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    record = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": {
            "device": device_name(device),
            "system": platform.system(),
            "load_average": [round(v, 1) for v in os.getloadavg()] if hasattr(os, "getloadavg") else None,
        },
        "versions": versions,
        "settings": settings,
        "rows": rows,
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return path


def draw_activation(path: Path) -> Path:
    """Draw times relative to GELU by width, in one panel forward and in one forward with backward."""
    record = json.loads(path.read_text(encoding="utf-8"))
    figure, panels = plt.subplots(1, 2, figsize=(11, 3.6), sharey=True, layout="constrained")
    for panel, what in zip(panels, ("forward", "forward+backward"), strict=True):
        for name, colour in _COLOURS.items():
            for memory, style in (("returned", ":"), ("kept", "-")):
                rows = [
                    r
                    for r in record["rows"]
                    if (r["pass"], r["contestant"], r["freed_memory"]) == (what, name, memory)
                ]
                label = name if memory == "kept" else f"{name}, freed memory returned"
                if rows:
                    panel.plot(
                        [r["width"] for r in rows],
                        [r["over_gelu"] for r in rows],
                        style,
                        color=colour,
                        marker="o",
                        markersize=3,
                        label=label,
                    )
        panel.set(xscale="log", title=what, xlabel="neurons a layer")
        panel.set_xticks(widths := sorted({r["width"] for r in record["rows"]}), [str(w) for w in widths])
        panel.minorticks_off()
        panel.set_ylim(bottom=0)
    panels[0].set_ylabel("time over GELU's")
    figure.legend(*panels[1].get_legend_handles_labels(), fontsize=7, loc="outside right upper")
    settings = record["settings"]
    figure.suptitle(f"LN(SoLU), {settings['dtype']}, {record['machine']['device']}", fontsize=9)
    return _save(figure, path)


def draw_training_step(path: Path) -> Path:
    """Draw the times of a training step relative to the GELU model, one bar for each model."""
    record = json.loads(path.read_text(encoding="utf-8"))
    rows = [r for r in record["rows"] if r["model"] != "gelu"]
    figure, panel = plt.subplots(figsize=(7, 3.4), layout="constrained")
    labels = [f"{r['n_layers']} layer{'s' * (r['n_layers'] > 1)}\n{r['model']}\n{r['mode']}" for r in rows]
    colours = [_COLOURS["fused" if "fused" in r["model"] else "eager"] for r in rows]
    bars = panel.bar(range(len(rows)), [r["over_gelu"] for r in rows], color=colours)
    panel.bar_label(bars, fmt="%.3f", fontsize=8, color="white", label_type="center")
    panel.axhline(1, color=_COLOURS["gelu"], linewidth=1)
    panel.set_xticks(range(len(rows)), labels, fontsize=6)
    panel.set_ylabel("step time over the GELU model's")
    figure.suptitle(record["machine"]["device"], fontsize=9)
    return _save(figure, path)


def _save(figure: Any, path: Path) -> Path:
    drawn = path.with_suffix(".svg")
    with mpl.rc_context({"svg.hashsalt": "solu"}):
        figure.savefig(drawn, metadata={"Date": None})
    plt.close(figure)
    return drawn
