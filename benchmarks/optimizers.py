"""Muon against AdamW: `python benchmarks/optimizers.py --packed TOKENS --tokenizer MODEL --held-out TEXT`.

A small one-layer SoLU model on real text, as `solu train` trains it (`wsd`). Each optimizer first takes the
best of the learning rates on one seed, then runs on every seed for the same tokens; AdamW runs once more for
the processor time that Muon's tokens took. The losses compared are on the same held-out rows. Two runs go
side by side, a core each. Results go to `results/optimizers.json`.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from records import device_name, write_record
from transformers import set_seed

from solu_model.config import SoluConfig
from solu_model.loading.checkpoints import load_tokenizer
from solu_model.model import SoluForCausalLM
from solu_model.text.documents import read_documents
from solu_model.text.token_file import TokenFile, write_token_file
from solu_model.training import Recipe, multiplies_bf16
from solu_model.training.batches import Batches
from solu_model.training.loop import loss_and_gradients, optimizers_of
from solu_model.training.memory import keep_freed_memory

CONFIG = SoluConfig(d_model=128, n_heads=2, d_mlp=512, n_ctx=256)
HELD_OUT_ROWS = 256
RATES = (2e-3, 4e-3, 8e-3)
SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Contestant:
    """One run."""

    optimizer: str
    learning_rate: float
    n_tokens: int
    seed: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--packed", type=Path, required=True, help="a token file to train on")
    parser.add_argument(
        "--tokenizer", type=Path, required=True, help="the folder of the tokenizer it was made with"
    )
    parser.add_argument("--held-out", nargs="+", required=True, help="text to measure the loss on")
    parser.add_argument("--n-tokens", type=int, default=1_500_000, help="of a run")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(one_run(Contestant(**json.loads(args.one)), args.packed, Path(args.held_out[0]))))
        return
    with tempfile.TemporaryDirectory() as folder:
        held_out = Path(folder) / "held-out"
        write_token_file(
            read_documents(args.held_out), load_tokenizer(args.tokenizer), held_out, progress=False
        )
        rows = measure(args.packed, held_out, args.tokenizer, args.n_tokens)
    settings = {
        "shape": {
            name: getattr(CONFIG, name) for name in ("n_layers", "d_model", "d_mlp", "n_ctx", "d_vocab")
        },
        "recipe": {
            "batch_tokens": recipe(Contestant("adamw", 1e-3, 10**6, 0)).batch_tokens,
            "schedule": "wsd",
        },
        "held_out_tokens": HELD_OUT_ROWS * (CONFIG.n_ctx - 1),
    }
    print(f"wrote {write_record('optimizers', 'cpu', settings, rows).name} ({device_name('cpu')})")


def measure(packed: Path, held_out: Path, tokenizer: Path, n_tokens: int) -> list[dict[str, Any]]:
    """All runs, each with its question: the learning rate, equal tokens or equal time."""

    def run(contestants: list[Contestant], question: str) -> list[dict[str, Any]]:
        def one(contestant: Contestant) -> dict[str, Any]:
            command = [sys.executable, __file__, "--packed", str(packed), "--tokenizer", str(tokenizer)]
            command += ["--held-out", str(held_out), "--one", json.dumps(contestant.__dict__)]
            row = {"question": question} | contestant.__dict__
            row |= json.loads(subprocess.check_output(command, text=True).splitlines()[-1])
            print(row, flush=True)
            return row

        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(one, contestants))

    names = ("adamw", "muon")
    tried = run(
        [Contestant(name, rate, n_tokens, SEEDS[0]) for rate in RATES for name in names], "learning rate"
    )
    best = {
        name: min((row for row in tried if row["optimizer"] == name), key=lambda row: row["nats"])[
            "learning_rate"
        ]
        for name in names
    }
    others = run(
        [Contestant(name, best[name], n_tokens, seed) for seed in SEEDS[1:] for name in names], "equal tokens"
    )
    chosen = [
        row | {"question": "equal tokens"} for row in tried if row["learning_rate"] == best[row["optimizer"]]
    ]
    equal = chosen + others
    seconds = {
        name: statistics.median(r["cpu_s_a_million"] for r in equal if r["optimizer"] == name)
        for name in names
    }
    longer = round(n_tokens * seconds["muon"] / seconds["adamw"])
    print(f"a token takes Muon {seconds['muon'] / seconds['adamw']:.3f} of AdamW's time")
    timed = run([Contestant("adamw", best["adamw"], longer, seed) for seed in SEEDS], "equal time")
    muon = [row | {"question": "equal time"} for row in equal if row["optimizer"] == "muon"]
    for question, rows in (("equal tokens", equal), ("equal time", timed + muon)):
        losses = {
            name: {row["seed"]: row["nats"] for row in rows if row["optimizer"] == name} for name in names
        }
        gains = [losses["adamw"][seed] - losses["muon"][seed] for seed in SEEDS]
        print(f"{question}: Muon ahead by {', '.join(f'{g:.4f}' for g in gains)} nats a token")
    return tried + equal + timed + muon


def recipe(contestant: Contestant) -> Recipe:
    return Recipe(
        n_tokens=contestant.n_tokens, batch_tokens=4096, warmup_steps=40, schedule="wsd",
        optimizer=contestant.optimizer, learning_rate=contestant.learning_rate, seed=contestant.seed,
        bf16=multiplies_bf16(),
    )  # fmt: skip


def one_run(contestant: Contestant, packed: Path, held_out: Path) -> dict[str, float]:
    """Held-out loss, and processor seconds a million tokens."""
    torch.set_num_threads(1)
    keep_freed_memory()
    how = recipe(contestant)
    batches = Batches(TokenFile(packed), CONFIG.n_ctx, how.batch_tokens // CONFIG.n_ctx, how.seed)
    set_seed(how.seed)
    model = SoluForCausalLM(CONFIG).train()
    optimizers = optimizers_of(model, how)
    began = time.process_time()
    for step, tokens in enumerate(batches.steps(0, how.n_steps(), torch.device("cpu"))):
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = how.learning_rate_at(step)
        loss_and_gradients(model, tokens, how)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
    seconds = time.process_time() - began
    rows = TokenFile(held_out)
    model.eval()
    apart = max(1, rows.n_rows(CONFIG.n_ctx) // HELD_OUT_ROWS)
    with torch.inference_mode():
        losses = []
        for index in range(HELD_OUT_ROWS):
            tokens = torch.from_numpy(rows.row(index * apart, CONFIG.n_ctx))[None]
            losses.append(float(model(input_ids=tokens, labels=tokens, use_cache=False).loss))
    return {
        "nats": round(statistics.fmean(losses), 5),
        "cpu_s_a_million": round(seconds / how.n_steps() / how.batch_tokens * 1e6, 2),
    }


if __name__ == "__main__":
    main()
