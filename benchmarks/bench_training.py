"""`solu train`'s loop against a plain one: `python benchmarks/bench_training.py --data PATH`.

The plain loop is nanoGPT's: random rows of a memory-mapped token file, bfloat16 autocast, the whole logits
and their cross-entropy, clip_grad_norm_, fused AdamW; the same model, its activation by the definition. Each
contestant runs in processes of its own, by turns; printed are median tokens/s of the rounds, the ratio to the
best plain loop, model FLOPs utilisation (of the fastest matrix product measured in the same process) and the
share of time that `solu train` waits for data. Results go to `results/`.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from records import device_name, write_record

from solu_model.activation.op import ENVIRONMENT_VARIABLE
from solu_model.config import SoluConfig
from solu_model.model import SoluForCausalLM
from solu_model.text.documents import read_documents
from solu_model.text.token_file import TokenFile, write_token_file
from solu_model.text.tokenizer import train_tokenizer
from solu_model.training import Recipe
from solu_model.training.batches import Batches
from solu_model.training.loop import loss_and_gradients, optimizers_of
from solu_model.training.memory import keep_freed_memory

CONTESTANTS = ("plain", "plain compiled", "solu train", "solu train --compile")
ROWS = 16
RECIPE = Recipe(n_tokens=10**9)
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="text for the token file")
    parser.add_argument("--documents", type=int, default=4000)
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20, help="of a round")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--tokens", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(one_round(args.one, args.tokens, args.layers, args.seconds)))
        return
    print(device_name(DEVICE))
    found: dict[str, list[dict[str, float]]] = {name: [] for name in CONTESTANTS}
    with tempfile.TemporaryDirectory() as folder:
        tokens = packed(args.data, args.documents, Path(folder))
        for _ in range(args.rounds):
            for name in CONTESTANTS:
                command = [sys.executable, *sys.argv, "--one", name, "--tokens", str(tokens)]
                found[name].append(json.loads(subprocess.check_output(command).splitlines()[-1]))
    rows = [
        {"contestant": name} | {k: statistics.median(r[k] for r in rounds) for k in rounds[0]}
        for name, rounds in found.items()
    ]
    best = max(row["tokens_per_s"] for row in rows if row["contestant"].startswith("plain"))
    for row in rows:
        row["ratio"] = round(row["tokens_per_s"] / best, 3)
        rate, ratio, name = row["tokens_per_s"], row["ratio"], row["contestant"]
        print(f"{name:22}{rate:9,.0f} tokens/s, {ratio:.2f} of the best plain loop", end="")
        print(f"; {row['utilisation']:.1%} of a product's speed", end="")
        print(f"; {row['waiting']:.2%} waiting for data" if "waiting" in row else "")
    settings = {
        "layers": args.layers,
        "rows": ROWS,
        "n_ctx": 512,
        "rounds": args.rounds,
        "seconds": args.seconds,
    }
    write_record(f"training-{args.layers}-layer-{DEVICE}", DEVICE, settings, rows)


def packed(data: Path, n_documents: int, folder: Path) -> Path:
    """Real text as a token file with a vocabulary of 8,192."""
    documents = [document for document, _ in zip(read_documents([data]), range(n_documents), strict=False)]
    tokenizer = train_tokenizer((d.text for d in documents), 8192)
    write_token_file(iter(documents), tokenizer, folder / "tokens", progress=False)
    return folder / "tokens"


def one_round(name: str, path: Path, n_layers: int, seconds: float) -> dict[str, float]:
    """Tokens/s of a contestant, after its first steps."""
    if name.startswith("plain"):
        os.environ[ENVIRONMENT_VARIABLE] = "reference"
    else:
        keep_freed_memory()
    torch.manual_seed(0)
    tokens = TokenFile(path)
    model = SoluForCausalLM(SoluConfig(n_layers=n_layers)).train().to(DEVICE)
    (optimizer,) = optimizers_of(model, RECIPE)
    batches = Batches(tokens, 512, ROWS, seed=0)
    compiled = name.endswith(("compile", "compiled"))
    data = random_rows(tokens) if name.startswith("plain") else batches.steps(0, 10**6, torch.device(DEVICE))
    step = (plain_step if name.startswith("plain") else our_step)(model, optimizer, compiled)
    for _ in range(5):
        step(next(data))
    waited, times, began = batches.seconds_waiting, [], time.perf_counter()
    while time.perf_counter() - began < seconds:
        then = time.perf_counter()
        step(next(data))
        if DEVICE == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - then)
    rate = ROWS * 512 / statistics.median(times)
    found = {
        "tokens_per_s": round(rate, 1),
        "utilisation": round(rate * flops(model) / fastest_product(), 4),
    }
    if not name.startswith("plain"):  # which reads its rows between steps, in the time of a step
        found["waiting"] = round((batches.seconds_waiting - waited) / sum(times), 5)
    return found


def random_rows(tokens: TokenFile) -> Iterator[torch.Tensor]:
    """nanoGPT's get_batch: rows from anywhere."""
    while True:
        starts = torch.randint(len(tokens.tokens) - 512, (ROWS,))
        yield torch.stack(
            [torch.from_numpy(tokens.tokens[s : s + 512].astype("int64")) for s in starts.tolist()]
        ).to(DEVICE)


def plain_step(
    model: SoluForCausalLM, optimizer: torch.optim.Optimizer, compiled: bool
) -> Callable[[torch.Tensor], None]:
    network: Any = torch.compile(model) if compiled else model

    def step(tokens: torch.Tensor) -> None:
        with torch.autocast(DEVICE, torch.bfloat16):
            logits = network(input_ids=tokens, use_cache=False).logits
            loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def our_step(
    model: SoluForCausalLM, optimizer: torch.optim.Optimizer, compiled: bool
) -> Callable[[torch.Tensor], None]:
    if compiled:
        model.compile()

    def step(tokens: torch.Tensor) -> None:
        float(loss_and_gradients(model, tokens, RECIPE)[1])
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def flops(model: SoluForCausalLM) -> float:
    """Of a token, forward and backward: 6 a weight that multiplies, and attention over half the context."""
    c = model.config
    weights = c.n_layers * (4 * c.d_model * c.n_heads * c.d_head + 2 * c.d_model * c.d_mlp)
    return 6.0 * (weights + c.d_model * c.d_vocab) + 6.0 * c.n_layers * c.n_heads * c.d_head * c.n_ctx


def fastest_product() -> float:
    """Floating-point operations a second of a large matrix product, in the faster of bfloat16 and float32."""
    best = 0.0
    for dtype in (torch.bfloat16, torch.float32):
        a = torch.randn(2048, 2048, device=DEVICE, dtype=dtype)
        for _ in range(6):
            then = time.perf_counter()
            a @ a
            if DEVICE == "cuda":
                torch.cuda.synchronize()
            best = max(best, 2 * 2048**3 / (time.perf_counter() - then))
    return best


if __name__ == "__main__":
    main()
