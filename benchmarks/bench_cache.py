"""How fast a cache is built: `python benchmarks/bench_cache.py TEXT --layers 1`.

TEXT is any corpus that `solu cache build` takes. Over a model of the published SoLU models' shape (d_model
512, d_mlp 2048, n_ctx 1024; d_vocab is the tokenizer's) with random weights (speed, not meaning, is
measured), in turns within one run:

- `build`: the engine from text to statistics, tokenizing included, in tokens of text a second, while every
  core has documents to read: a stretch's end, where one waits for another's last document, is no part of a
  long build. First from nothing (every list still fills), then steadily.
- `forward`: the bare pass to the last hooked activation, without unembedding and with nothing kept: as the
  engine runs it (a stream a core, one torch thread each, one context a pass), over the contexts that the
  engine read; and in batches of full contexts on torch's own threads.
- `transformerlens`: the loop that people write and its best form, see transformerlens_loop.py, in the
  environment that `make .venv-oracle/installed` makes; left out where there is none.

What is printed and kept are medians and their ratios; results go to `results/`.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import torch
from records import device_name, write_record

from cache.building.engine import Engine, Options
from cache.building.workers import DocumentWorkers
from cache.shards.corpus import Corpus, TokenizedDocument
from cache.shards.state import BuildState
from solu_model.config import SoluConfig
from solu_model.loading.checkpoints import load_tokenizer, save_checkpoint
from solu_model.loading.transformerlens import save_transformerlens
from solu_model.model import SoluForCausalLM
from solu_model.text.contexts import Context

ROOT = Path(__file__).parents[1]
BATCHES = (1, 4, 16)
TL_BATCHES = (1, 4, 16)
PAIRS = 4
"""Turns of building and of the bare pass in each repeat, short ones: a shared machine's speed changes by the
second."""
MARKS = {1: 0.80, 4: 0.90}
"""Of the bare forward pass, by number of layers."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("text", type=Path, nargs="+")
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--d-model", type=int, default=512)
    parser.add_argument("--n-ctx", type=int, default=1024)
    parser.add_argument(
        "--tokenizer", type=Path, default=ROOT / "models/solu-1l", help="a folder or a tokenizer's file"
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=30, help="of building in each repeat")
    parser.add_argument(
        "--warm",
        type=float,
        default=30,
        help="seconds of building before the first repeat: the more, the fuller the lists and the faster",
    )
    parser.add_argument("--other", type=Path, default=ROOT / ".venv-oracle/bin/python")
    parser.add_argument("--name", help="of the files in results/")
    args = parser.parse_args()
    print(device_name("cpu"))
    with tempfile.TemporaryDirectory() as folder:
        rows, settings = measure(args, Path(folder))
    record = write_record(args.name or f"cache-{args.layers}-layer-cpu", "cpu", settings, rows)
    print(f"wrote {record.name}")


def measure(args: argparse.Namespace, folder: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """A row a contestant, and what the numbers stand for."""
    tokenizer = load_tokenizer(args.tokenizer)
    if tokenizer.bos_token is None:
        tokenizer.bos_token = "<|endoftext|>"  # as the published models have it
    torch.manual_seed(0)
    config = SoluConfig(
        d_model=args.d_model,
        d_mlp=4 * args.d_model,
        n_layers=args.layers,
        n_heads=args.d_model // 64,
        n_ctx=args.n_ctx,
        d_vocab=len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
    )
    model = SoluForCausalLM(config).eval()
    save_checkpoint(model, folder / "model", tokenizer)
    save_transformerlens(model, folder / "transformerlens")
    engine = Counting(folder / "model", Options(device="cpu"))
    texts = Corpus(args.text).documents(engine.tokenization)
    build = Build(engine, texts)
    n_cores = os.cpu_count() or 1
    rates: dict[str, list[float]] = {"build, from nothing": [build.run(args.warm)]}

    full = full_contexts(build.read, config.n_ctx)
    np.save(folder / "contexts.npy", full)
    other = Other(args.other, folder) if args.other.exists() else None
    versions = other.versions if other else {}
    for _ in range(args.repeats):
        for _ in range(PAIRS):
            build.read.clear()
            rates.setdefault("build", []).append(build.run(args.seconds / PAIRS))
            rates.setdefault("forward, a context a pass on each core", []).append(
                streams(engine, build.contexts(), n_cores, args.seconds / PAIRS)
            )
        turns: list[tuple[str, Callable[[], float]]] = [
            (f"forward, batch {batch}", lambda b=batch: batched(engine, full, b, args.seconds / 4))
            for batch in BATCHES
        ]
        if other:
            turns += [
                (
                    f"transformerlens {form}, batch {batch}",
                    lambda f=form, b=batch: other.run(f, b, args.seconds / 4),
                )
                for form in ("written", "best")
                for batch in TL_BATCHES
            ]
        for name, turn in turns:
            rates.setdefault(name, []).append(turn())
    build.close()
    rows = [
        {
            "contestant": name,
            "tokens_a_second": round(statistics.median(found), 1),
            "lowest": round(min(found), 1),
            "highest": round(max(found), 1),
            "turns": len(found),
        }
        for name, found in rates.items()
    ]
    ratios = ratios_of(rates)
    settings = {
        "n_layers": args.layers,
        "d_model": config.d_model,
        "d_mlp": config.d_mlp,
        "n_ctx": config.n_ctx,
        "d_vocab": config.d_vocab,
        "tokenizer": f"{args.tokenizer.name}, {len(tokenizer):,} tokens",
        "weights": "random",
        "hooks": engine.settings.hooks,
        "threads": n_cores,
        "seconds": args.seconds,
        "warm": args.warm,
        "pairs_a_repeat": PAIRS,
        "tokens_built": build.n_tokens,
        "mean_context": round(statistics.fmean(len(c.tokens) for c in build.contexts()), 1),
        "other": versions,
        "ratios": ratios,
    }
    for row in rows:
        spread = f"{row['lowest']:,.0f} to {row['highest']:,.0f}"
        print(f"{row['contestant']:42} {row['tokens_a_second']:10,.0f} tokens/s ({spread})")
    for name, ratio in ratios.items():
        print(f"build over {name}: {ratio:.3f}")
    if mark := MARKS.get(args.layers):
        print(f"the mark: {mark} of the forward pass, 5 and 2 of the others")
    return rows, settings


def ratios_of(rates: dict[str, list[float]]) -> dict[str, float]:
    """Building over the best form of each other kind; the median of ratios of turns beside each other."""
    kinds = {
        "forward as the engine runs it": "forward, a context",
        "forward in its best form": "forward",
        "transformerlens as written": "transformerlens written",
        "transformerlens in its best form": "transformerlens best",
    }
    found = {}
    for kind, prefix in kinds.items():
        forms = [r for name, r in rates.items() if name.startswith(prefix)]
        if forms:
            best = max(forms, key=statistics.median)
            n = len(rates["build"]) // len(best)  # turns of building beside one of the other
            building = [statistics.fmean(rates["build"][n * i : n * i + n]) for i in range(len(best))]
            found[kind] = round(statistics.median(a / b for a, b in zip(building, best, strict=True)), 4)
    return found


class Counting(Engine):
    """An engine that notes when each pass, and what is done with its activations, took place."""

    def __init__(self, model: Path, options: Options) -> None:
        super().__init__(model, options)
        self._passes: list[tuple[float, float, int]] = []

    def run(self, contexts: Sequence[Context], visit: Callable[[str, torch.Tensor], None]) -> None:
        """One pass, see `Engine.run`."""
        began = time.perf_counter()
        super().run(contexts, visit)
        self._passes.append((began, time.perf_counter(), sum(len(c.tokens) - 1 for c in contexts)))

    def rate(self, began: float, ended: float) -> float:
        """Tokens of text a second between two moments, of a pass across one of them its part."""
        n_tokens = sum(
            n * max(min(end, ended) - max(start, began), 0.0) / (end - start)
            for start, end, n in self._passes
        )
        return n_tokens / (ended - began)


class Build:
    """The engine at work on one state, a stretch at a time."""

    def __init__(self, engine: Counting, texts: Iterator[TokenizedDocument]) -> None:
        self.engine, self._texts = engine, texts
        self._workers = DocumentWorkers(engine, BuildState.empty(engine.settings))
        self.read: list[TokenizedDocument] = []
        """Since the list was last emptied."""
        self.n_tokens = 0

    def run(self, seconds: float) -> float:
        """Tokens a second over about so long; returns when the last document is read."""
        began = ended = time.perf_counter()
        for text in self._texts:
            self._workers.submit(text)
            ended = time.perf_counter()  # and more documents are waiting
            self.read.append(text)
            self.n_tokens += len(text.tokens)
            if ended - began > seconds:
                break
        else:
            sys.exit("the text is too short for so many repeats of so many seconds: give more of it")
        self._workers.flush()
        return self.engine.rate(began, ended)

    def contexts(self) -> list[Context]:
        """What the model saw of the documents in `read`."""
        cut = self.engine.tokenization.contexts
        return [context for text in self.read for context in cut(text.id, text.tokens.tolist())]

    def close(self) -> None:
        """End the engine's threads."""
        self._workers.close()


def _nothing(point: str, acts: torch.Tensor) -> None:
    """Keep nothing of a pass."""


def streams(engine: Counting, contexts: list[Context], n: int, seconds: float) -> float:
    """The bare pass as the engine runs it: tokens of text a second, while every core is at work."""
    began, waiting = time.perf_counter(), itertools.cycle(contexts)

    def work() -> None:
        torch.set_num_threads(1)
        while time.perf_counter() - began < seconds:
            engine.run([next(waiting)], _nothing)

    threads = [Thread(target=work) for _ in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return engine.rate(began, began + seconds)


def batched(engine: Counting, contexts: np.ndarray, batch: int, seconds: float) -> float:
    """The bare pass on torch's own threads: tokens of text a second of full contexts."""
    n, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        at = n % (len(contexts) - batch + 1)
        engine.run([Context(0, 0, row) for row in contexts[at : at + batch]], _nothing)
        n += batch
    return engine.rate(began, time.perf_counter())


def full_contexts(texts: list[TokenizedDocument], n_ctx: int, n: int = 128) -> np.ndarray:
    """`[n, n_ctx]` tokens of the texts, one after another."""
    tokens = np.concatenate([t.tokens for t in texts])[: n * n_ctx]
    return np.ascontiguousarray(tokens[: len(tokens) // n_ctx * n_ctx].reshape(-1, n_ctx))


class Other:
    """TransformerLens in a process of its own, asleep between its turns."""

    def __init__(self, python: Path, folder: Path) -> None:
        program = Path(__file__).with_name("transformerlens_loop.py")
        self._process = subprocess.Popen(
            [python, program, folder / "transformerlens", folder / "contexts.npy"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.versions = self._answer()

    def run(self, form: str, batch: int, seconds: float) -> float:
        """Tokens a second of a form of the loop."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{form} {batch} {seconds}\n")
        self._process.stdin.flush()
        answer = self._answer()
        return float(answer["tokens"] / answer["seconds"])

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            sys.exit("TransformerLens ended early: its message is above")
        found: dict[str, Any] = json.loads(line)
        return found


if __name__ == "__main__":
    main()
