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
from scipy import stats

from solu_model.evaluation.multiplier import MeasuredModel, multipliers, read_measured_model
from solu_model.files import written_aside

BASELINE = "gelu-1l"
LOOKS = {"gelu-1l": ("GELU", "#5b8fc0", "s"), "solu-1l": ("SoLU, LayerNorm", "#c4605a", "o")}
LOOKS |= {"solu-plain-1l": ("SoLU alone", "#a06a2c", "D"), "gelu-ln-1l": ("GELU, LayerNorm", "#6b8f3c", "^")}
SHARED = ("tokenizer.json", "tokenizer_config.json", "tokens")
"""Of a run's folder what all of them have in common: made once, linked into the others."""


SEEDS = 3
"""Of the narrowest models: what chance does is measured where it costs least."""


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
    again = [Member(preset, min(widths), seed) for seed in range(1, SEEDS) for preset in presets]
    return [Member(p, w, 0) for w in sorted(widths, reverse=True) for p in presets] + again


def solu(*arguments: object) -> None:
    """Run a command of the package with one thread."""
    command = [sys.executable, "-c", "from dashboard.cli import main; main()", *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"solu {' '.join(map(str, arguments))}\n{done.stderr[-2000:]}")


def made(member: Member, said: argparse.Namespace, first: Path) -> None:
    """Train and evaluate a member; what is done is not done again. The text is packed by the `first`."""
    out = said.out / member.name
    if out != first and not out.exists():
        with written_aside(out) as aside:
            (aside / "tokens").mkdir(parents=True)
            for name in SHARED:
                there = first / name
                for file in sorted(there.iterdir()) if there.is_dir() else [there]:
                    os.link(file, aside / file.relative_to(first))
    data = [word for path in said.data for word in ("--data", path)]
    val = [word for path in said.val for word in ("--data", path)]
    solu(  # refuses a folder with another recipe
        "train", "--preset", member.preset, "--d-model", member.d_model, "--seed", member.seed,
        "--tokens", said.tokens, "--d-vocab", said.d_vocab, "--compile", *data, "--out", out,
    )  # fmt: skip
    if not (out / "evaluation.json").exists():
        solu("evaluate", "--model", out, *val, "--out", out / "evaluation.json")


def seed_noise(found: dict[Member, MeasuredModel], width: int) -> tuple[float, float]:
    """Standard deviations from seed to seed: of a loss, and of its difference from the GELU of the seed."""
    presets = {member.preset for member in found}
    losses = {p: np.array([found[Member(p, width, seed)].loss for seed in range(SEEDS)]) for p in presets}
    alone = np.mean([own.var(ddof=1) for own in losses.values()])
    apart = np.mean([(own - losses[BASELINE]).var(ddof=1) for p, own in losses.items() if p != BASELINE])
    return float(np.sqrt(alone)), float(np.sqrt(apart))


def draw(found: dict[Member, MeasuredModel], baselines: list[MeasuredModel], file: Path) -> None:
    """Losses by size, and the law of the baselines."""
    figure, axes = plt.subplots(figsize=(6.4, 4.2))
    losses = np.linspace(
        min(s.loss for s in found.values()) - 0.03, max(s.loss for s in found.values()) + 0.03
    )
    law = multipliers(baselines, [MeasuredModel("", 1, float(loss)) for loss in losses], 0.0, draws=1)
    axes.plot([m.value for m in law], losses, color=LOOKS[BASELINE][1], lw=1, label="law of the GELUs")
    for preset, (label, colour, symbol) in LOOKS.items():
        points = [(s.n_parameters, s.loss) for m, s in found.items() if m.preset == preset]
        if points:
            axes.scatter(*zip(*points, strict=True), color=colour, marker=symbol, s=28, label=label, zorder=3)
    sizes = [s.n_parameters for s in found.values()]
    axes.set(xscale="log", xlim=(min(sizes) / 1.5, max(sizes) * 1.5))
    axes.set(xlabel="parameters without embeddings", ylabel="nats per token, text not trained on")
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
    parser.add_argument("--d-vocab", type=int, default=8192, help="a small one leaves time for more text")
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--presets", nargs="+", default=["gelu-1l", "solu-1l", "solu-plain-1l"])
    said = parser.parse_args()
    if BASELINE not in said.presets or len(said.presets) < 2 or len(set(said.widths)) < 2:
        parser.error(f"expected two widths or more, {BASELINE} and another preset")
    members = family(said.presets, said.widths)
    first = said.out / members[0].name
    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(made, members[0], said, first)]
        while not (first / "tokens").is_dir() and not running[0].done():
            time.sleep(1)
        running += [pool.submit(made, member, said, first) for member in members[1:]]
        try:
            for one in running:
                one.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    found = {member: read_measured_model(said.out / member.name) for member in members}
    alone, apart = seed_noise(found, min(said.widths))
    # Few seeds tell little of how large chance is: Student's t in place of the normal law of known noise.
    noise = apart / np.sqrt(2) * stats.t.ppf(0.975, SEEDS - 1) / stats.norm.ppf(0.975)
    baselines = [size for member, size in found.items() if member.preset == BASELINE]
    compared = [member for member in found if member.preset != BASELINE and not member.seed]
    worth = multipliers(baselines, [found[member] for member in compared], float(noise))
    rows: list[dict[str, Any]] = [asdict(member) | asdict(size) for member, size in found.items()]
    table = Table("model", "parameters", "nats per token", "than GELU", "worth", "95% interval")
    for member, one in zip(compared, worth, strict=True):
        gap = one.model.loss - found[Member(BASELINE, member.d_model, 0)].loss
        rows.append({"name": member.name, "gap": gap, "worth": one.value, "interval": [one.low, one.high]})
        table.add_row(
            member.name, f"{one.model.n_parameters:,}", f"{one.model.loss:.4f}", f"{gap:+.4f}",
            f"{one.value:.2f}", f"{one.low:.2f} to {one.high:.2f}",
        )  # fmt: skip
    console = Console()
    console.print(table)
    console.print(f"from seed to seed: a loss {alone:.4f} nats, its difference from GELU {apart:.4f}")
    draw(found, baselines, RESULTS / "size-family.svg")
    chance = {"seeds": SEEDS, "width": min(said.widths), "of a loss": alone, "of a difference": apart}
    shape = json.loads((said.out / first.name / "config.json").read_text(encoding="utf-8"))
    settings = {
        "tokens": said.tokens,
        "val": [Path(v).name for v in said.val],
        "noise": chance,
        "n_ctx": shape["n_ctx"],
        "d_vocab": shape["d_vocab"],
    }
    write_record("size-family", "cpu", settings, rows)


if __name__ == "__main__":
    main()
