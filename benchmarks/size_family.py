"""Models of several sizes, trained on the same text, measured and fitted: what SoLU is worth in GELUs.

python benchmarks/size_family.py --data TRAIN --val VAL --out runs/family

Trains each preset at each width, two at once with a core each, the narrowest with a second seed; the same
command goes on where it was stopped. Writes results/size-family.json and the drawing beside it.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from records import RESULTS, plt, write_record
from rich.console import Console
from rich.table import Table

from solu_model.multiplier import Sized, measured, multipliers

BASELINE = "gelu-1l"
LOOKS = {"gelu-1l": ("GELU", "#5b8fc0", "s"), "solu-1l": ("SoLU, LayerNorm", "#c4605a", "o")}
LOOKS |= {"solu-plain-1l": ("SoLU alone", "#a06a2c", "D"), "gelu-ln-1l": ("GELU, LayerNorm", "#6b8f3c", "^")}
SHARED = ("tokenizer.json", "tokenizer_config.json", "tokens")
"""Of a run's folder what all of them have in common: made once, linked into the others."""


@dataclass(frozen=True)
class Member:
    """One model of the family."""

    preset: str
    d_model: int
    seed: int

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.preset}-{self.d_model}" + f"-seed{self.seed}" * bool(self.seed)


def family(presets: list[str], widths: list[int]) -> list[Member]:
    """All members, the widest first: they take longest."""
    second = [Member(preset, min(widths), 1) for preset in presets]
    return [Member(p, w, 0) for w in sorted(widths, reverse=True) for p in presets] + second


def solu(*arguments: object) -> None:
    """Run a command of the package with one thread."""
    command = [sys.executable, "-c", "from dashboard.cli import main; main()", *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"solu {' '.join(map(str, arguments))}\n{done.stderr[-2000:]}")


def made(member: Member, said: argparse.Namespace, first: Path) -> None:
    """Train and evaluate a member, unless that was done; the text is packed by the `first`."""
    out = said.out / member.name
    if out != first and not out.exists():
        (out / "tokens").mkdir(parents=True)
        for name in SHARED:
            for file in [first / name] if (first / name).is_file() else sorted((first / name).iterdir()):
                os.link(file, out / file.relative_to(first))
    data = [word for path in said.data for word in ("--data", path)]
    val = [word for path in said.val for word in ("--data", path)]
    if not (out / "training.json").exists():
        solu(
            "train", "--preset", member.preset, "--d-model", member.d_model, "--seed", member.seed,
            "--tokens", said.tokens, "--compile", *data, "--out", out,
        )  # fmt: skip
    if not (out / "evaluation.json").exists():
        solu("evaluate", "--model", out, *val, "--out", out / "evaluation.json")


def seed_noise(found: dict[Member, Sized]) -> tuple[float, float]:
    """Standard deviations from seed to seed: of a loss, and of the difference of two models of one seed."""
    pairs = [(m, found[Member(m.preset, m.d_model, 0)].loss, found[m].loss) for m in found if m.seed]
    alone = np.sqrt(np.mean([(a - b) ** 2 / 2 for _, a, b in pairs]))
    gaps = {m.preset: np.array([a, b]) for m, a, b in pairs}
    paired = [np.ptp(gap - gaps[BASELINE]) ** 2 / 2 for p, gap in gaps.items() if p != BASELINE]
    return float(alone), float(np.sqrt(np.mean(paired)))


def draw(found: dict[Member, Sized], baselines: list[Sized], file: Path) -> None:
    """Losses by size, and the law of the baselines."""
    figure, axes = plt.subplots(figsize=(6.4, 4.2))
    losses = np.linspace(
        min(s.loss for s in found.values()) - 0.03, max(s.loss for s in found.values()) + 0.03
    )
    law = multipliers(baselines, [Sized("", 1, float(loss)) for loss in losses], 0.0, draws=1)
    axes.plot([m.value for m in law], losses, color=LOOKS[BASELINE][1], lw=1, label="law of the GELUs")
    for preset, (label, colour, symbol) in LOOKS.items():
        points = [(s.n_parameters, s.loss) for m, s in found.items() if m.preset == preset]
        if points:
            axes.scatter(*zip(*points, strict=True), color=colour, marker=symbol, s=28, label=label, zorder=3)
    sizes = [s.n_parameters for s in found.values()]
    axes.set(xscale="log", xlim=(min(sizes) / 1.5, max(sizes) * 1.5))
    axes.set(xlabel="parameters without embeddings", ylabel="nats a token, text not trained on")
    axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(file)


def main() -> None:
    """Train what is missing, then the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--data", action="append", required=True, help="text to train on; repeatable")
    parser.add_argument("--val", action="append", required=True, help="text to measure on; repeatable")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tokens", type=int, default=10_000_000)
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--presets", nargs="+", default=["gelu-1l", "solu-1l", "solu-plain-1l"])
    said = parser.parse_args()
    members = family(said.presets, said.widths)
    first = said.out / members[0].name
    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(made, members[0], said, first)]
        while not (first / "tokens").is_dir() and not running[0].done():
            time.sleep(1)
        running += [pool.submit(made, member, said, first) for member in members[1:]]
        for one in running:
            one.result()
    found = {member: measured(said.out / member.name) for member in members}
    alone, paired = seed_noise(found)
    baselines = [size for member, size in found.items() if member.preset == BASELINE]
    compared = [member for member in found if member.preset != BASELINE and not member.seed]
    # Models of a seed share text, order and first weights: what chance does to both is in no difference.
    worth = multipliers(baselines, [found[member] for member in compared], paired / np.sqrt(2))
    rows: list[dict[str, Any]] = [asdict(member) | asdict(size) for member, size in found.items()]
    table = Table("model", "parameters", "nats a token", "than GELU", "worth", "95% interval")
    for member, one in zip(compared, worth, strict=True):
        gap = one.model.loss - found[Member(BASELINE, member.d_model, 0)].loss
        rows.append({"name": member.name, "gap": gap, "worth": one.value, "interval": [one.low, one.high]})
        table.add_row(
            member.name, f"{one.model.n_parameters:,}", f"{one.model.loss:.4f}", f"{gap:+.4f}",
            f"{one.value:.2f}", f"{one.low:.2f} to {one.high:.2f}",
        )  # fmt: skip
    console = Console()
    console.print(table)
    console.print(f"from seed to seed: a loss {alone:.4f} nats, a difference of two models {paired:.4f}")
    draw(found, baselines, RESULTS / "size-family.svg")
    noise = {"of a loss": alone, "of a difference": paired}
    shape = json.loads((said.out / first.name / "config.json").read_text(encoding="utf-8"))
    settings = {"tokens": said.tokens, "noise": noise, "n_ctx": shape["n_ctx"], "d_vocab": shape["d_vocab"]}
    write_record("size-family", "cpu", settings, rows)


if __name__ == "__main__":
    main()
