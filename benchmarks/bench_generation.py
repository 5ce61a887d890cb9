"""Greedy generation against transformers' GPT-2 of the same sizes: `python benchmarks/bench_generation.py`.

Both generate from a prompt of 16 tokens, one row, with keys and values cached and `sdpa` attention, so that
every pass after the first reads one token. The models take turns. The result is milliseconds per token,
medians over the turns, and the median of the ratios of the turns. Weights are random. Our model has an
unembedding of its own; GPT-2 is measured with one too, and with its tied one, which it has by default. The
processor's time is recorded beside the clock's: compare that where other programs run. Results go to
`results/`.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from records import device_name, write_record
from transformers import GPT2Config, GPT2LMHeadModel

from solu_model import SoluConfig, SoluForCausalLM

SIZES = ((384, 1, 6), (256, 4, 4), (1024, 4, 16))
"""d_model, layers and heads."""

PROMPT = 16
CLOCKS: dict[str, Callable[[], float]] = {"clock": time.perf_counter, "processor": time.process_time}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tokens", type=int, default=64, help="to generate in each turn")
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--vocabulary", type=int, default=8192)
    parser.add_argument("--threads", type=int, help="of PyTorch")
    args = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if args.threads:
        torch.set_num_threads(args.threads)
    print(device_name(device))
    settings = {"prompt": PROMPT, "threads": torch.get_num_threads(), **vars(args), "dtype": "float32"}
    rows = [measure(*sizes, args.vocabulary, args.tokens, args.turns, device) for sizes in SIZES]
    print(f"wrote {write_record(f'generation-{device}', device, settings, rows).name}")


def measure(
    d_model: int, n_layers: int, n_heads: int, d_vocab: int, n_tokens: int, turns: int, device: str
) -> dict[str, Any]:
    """Return milliseconds per token and ratios for one size."""
    torch.manual_seed(0)
    sizes = {"n_ctx": 512, "d_vocab": d_vocab, "d_model": d_model, "n_layers": n_layers, "n_heads": n_heads}
    ours = SoluConfig(**sizes, d_head=d_model // n_heads, d_mlp=4 * d_model)
    theirs = {
        name: GPT2Config(
            vocab_size=d_vocab,
            n_positions=512,
            n_embd=d_model,
            n_layer=n_layers,
            n_head=n_heads,
            bos_token_id=0,
            eos_token_id=0,
            tie_word_embeddings=name == "GPT-2, tied",
            attn_implementation="sdpa",
        )
        for name in ("GPT-2", "GPT-2, tied")
    }
    models = {"SoLU": SoluForCausalLM(ours)} | {n: GPT2LMHeadModel(c) for n, c in theirs.items()}
    prompt = torch.randint(1, d_vocab, (1, PROMPT), device=device)
    for model in models.values():
        model.to(device).eval()
        generate(model, prompt, n_tokens)
    times: dict[str, dict[str, list[float]]] = {c: {name: [] for name in models} for c in CLOCKS}
    for turn in range(turns):
        order = list(models)[:: 1 if turn % 2 else -1]
        for name in order:
            began = {clock: read() for clock, read in CLOCKS.items()}
            generate(models[name], prompt, n_tokens)
            for clock, read in CLOCKS.items():
                times[clock][name].append(1000 * (read() - began[clock]) / n_tokens)
    row: dict[str, Any] = {"d_model": d_model, "n_layers": n_layers, "n_heads": n_heads}
    for clock, by_name in times.items():
        row[f"ms_per_token_{clock}"] = {n: round(statistics.median(t), 3) for n, t in by_name.items()}
        row[f"ratio_{clock}"] = {
            n: round(statistics.median(a / b for a, b in zip(by_name["SoLU"], t, strict=True)), 3)
            for n, t in by_name.items()
            if n != "SoLU"
        }
    print(row)
    return row


@torch.no_grad()
def generate(model: Any, prompt: torch.Tensor, n_tokens: int) -> None:
    """Generate exactly `n_tokens`; on a GPU, wait until they are done."""
    options = {"do_sample": False, "max_new_tokens": n_tokens, "min_new_tokens": n_tokens, "pad_token_id": 0}
    model.generate(prompt, attention_mask=torch.ones_like(prompt), **options)
    if prompt.is_cuda:
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
