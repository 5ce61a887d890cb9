"""Train a model: `solu train --preset solu-1l --data PATH --out DIR`.

The loop is transformers' Trainer. What is added here: the run's folder, a progress bar in tokens,
metrics on disk, a stop at the first loss that is not a number, and checkpoints that a kill at any
moment cannot spoil.

A run's folder:

    tokenizer.json ...      learned from a sample of the data
    tokens/                 the data, packed (solu_model.token_file)
    checkpoints/            checkpoint-N folders; one counts only once it holds the file `complete`
    run.json                which run it is; another one is refused
    metrics.jsonl           a row every `log_every` steps
    config.json, model.safetensors, curve.parquet, training.json    the result, in bf16
"""

import ctypes
import json
import logging
import random
import shutil
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
import transformers
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import Dataset
from transformers import (
    PreTrainedTokenizerFast,
    Trainer,
    TrainingArguments,
    set_seed,
)
from transformers.trainer_callback import PrinterCallback

from solu_model.checkpoints import load_tokenizer
from solu_model.config import SoluConfig
from solu_model.documents import corpus_bytes, read_documents
from solu_model.files import written_aside
from solu_model.model import SoluForCausalLM
from solu_model.run_metrics import COMPLETE, RunMetrics, TrainingError, read_metrics
from solu_model.token_file import TokenFile, write_token_file
from solu_model.tokenizer import tokenizer_hash, train_tokenizer

_log = logging.getLogger(__name__)

_LEAST_SAMPLE = 20_000_000  # bytes of text for the tokenizer to learn from, where there are so many


@dataclass(frozen=True)
class Recipe:
    """Hyper-parameters of a run; the model's shape is in its `SoluConfig`."""

    n_tokens: int
    """Tokens to train on, counted with the BOS of each row."""
    batch_tokens: int = 8192
    """Tokens a step."""
    learning_rate: float = 3e-3
    """Peak; linear warm-up, then linear to zero."""
    warmup_steps: int = 200
    weight_decay: float = 0.05
    """On the matrices (W_*) alone."""
    adam_beta1: float = 0.9
    adam_beta2: float = 0.98
    max_grad_norm: float = 1.0
    tokenizer_sample: float = 0.06
    """Share of the documents that the tokenizer learns from; more where that is under 20 MB."""
    seed: int = 0
    bf16: bool = True
    compile: bool = False
    """torch.compile; needs a C++ compiler."""
    log_every: int = 20
    save_every: int = 240
    """Steps between checkpoints: a multiple of `log_every`, so that a resumed run logs the same means."""

    def __post_init__(self) -> None:
        if self.log_every and self.save_every % self.log_every:
            raise TrainingError(
                f"save_every must be a multiple of log_every = {self.log_every}, got {self.save_every}"
            )

    def n_steps(self) -> int:
        """Optimizer steps in the run."""
        return max(1, self.n_tokens // self.batch_tokens)


PRESETS: dict[str, tuple[SoluConfig, Recipe]] = {
    "solu-1l": (SoluConfig(), Recipe(n_tokens=60_000_000)),
}


class Rows(Dataset[dict[str, Tensor]]):
    """Rows of a token file as Trainer wants them."""

    def __init__(self, tokens: TokenFile, n_ctx: int) -> None:
        self.tokens, self.n_ctx = tokens, n_ctx

    def __len__(self) -> int:
        return self.tokens.n_rows(self.n_ctx)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        row = torch.from_numpy(self.tokens.row(index, self.n_ctx))
        return {"input_ids": row, "labels": row}


def train(
    config: SoluConfig,
    recipe: Recipe,
    data: Sequence[str | Path],
    out: Path,
    *,
    progress: bool = True,
) -> SoluForCausalLM:
    """Train to the end of the recipe, going on from the last complete checkpoint in `out`.

    Args:
        config: the model; `d_vocab` is the size of the tokenizer to learn.
        recipe: hyper-parameters.
        data: corpus paths, see `solu_model.documents`.
        out: the run's folder. One that was made with another configuration or recipe is refused.
        progress: draw progress bars.

    Returns:
        The trained model; its weights, in bf16, are in `out`.

    Raises:
        TrainingError: `out` holds another run, the data is too small for a step, or the loss
            stopped being a number.
    """
    _keep_freed_memory()
    transformers.utils.logging.disable_progress_bar()  # of its checkpoints; ours shows tokens
    out.mkdir(parents=True, exist_ok=True)
    _claim(out, config, recipe, data)
    tokenizer = _tokenizer(out, config, recipe, data)
    tokens = _token_file(out, tokenizer, data, progress=progress)
    rows = Rows(tokens, config.n_ctx)
    batch = max(1, recipe.batch_tokens // config.n_ctx)
    if len(rows) < batch:
        raise TrainingError(
            f"the data fills {len(rows)} rows of {config.n_ctx} tokens, a step takes {batch}: give more text"
        )
    set_seed(recipe.seed)
    model = SoluForCausalLM(deepcopy(config))  # saving a model writes to its configuration
    _warn_when_short(rows, recipe, config)
    checkpoints = out / "checkpoints"
    resume = last_checkpoint(checkpoints)
    trainer = _Trainer(
        model=model,
        args=_arguments(recipe, checkpoints, batch),
        train_dataset=rows,
        callbacks=[RunMetrics(out / "metrics.jsonl", batch * config.n_ctx, progress=progress)],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    _save_result(out, model, recipe, data, tokens)
    return model


def _keep_freed_memory() -> None:
    """Ask glibc to reuse freed blocks instead of returning them to the kernel.

    Activations of tens of MB are freed and allocated again at every step; faulting their pages in
    anew each time cost a quarter of a step on two CPU cores (0.79 s against 0.54 s without).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # not glibc
        return
    m_trim_threshold, m_top_pad, m_mmap_max = -1, -2, -4
    mallopt(m_mmap_max, 0)
    mallopt(m_trim_threshold, 2**31 - 1)
    mallopt(m_top_pad, 2**28)


def last_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint in a run's `checkpoints/`; half-written ones are removed."""
    complete = []
    for path in folder.glob("checkpoint-*"):
        if (path / COMPLETE).is_file():
            complete.append(path)
        else:
            shutil.rmtree(path)
    return max(complete, key=lambda p: int(p.name.split("-")[1]), default=None)


class _Trainer(Trainer):
    """transformers' Trainer; weight decay on matrices alone."""

    def get_decay_parameter_names(self, model: torch.nn.Module) -> list[str]:
        return [n for n, _ in model.named_parameters() if n.rpartition(".")[2].startswith("W_")]


def _arguments(recipe: Recipe, checkpoints: Path, batch: int) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(checkpoints),
        max_steps=recipe.n_steps(),
        per_device_train_batch_size=batch,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=recipe.warmup_steps,
        weight_decay=recipe.weight_decay,
        adam_beta1=recipe.adam_beta1,
        adam_beta2=recipe.adam_beta2,
        max_grad_norm=recipe.max_grad_norm,
        optim="adamw_torch_fused",
        bf16=recipe.bf16,
        torch_compile=recipe.compile,
        use_cpu=not torch.cuda.is_available(),
        seed=recipe.seed,
        data_seed=recipe.seed,
        logging_steps=recipe.log_every,
        logging_nan_inf_filter=False,
        save_steps=recipe.save_every,
        save_total_limit=2,
        dataloader_drop_last=True,
        remove_unused_columns=False,
        disable_tqdm=True,
        report_to=[],
    )


def _identity(config: SoluConfig, recipe: Recipe, data: Sequence[str | Path]) -> dict[str, Any]:
    """What makes two runs the same run: not its speed, nor how often it logs or saves."""
    shape = {name: getattr(config, name) for name in SoluConfig.__annotations__ if name != "attribute_map"}
    fixed = asdict(replace(recipe, compile=False, log_every=0, save_every=0))
    return {"config": shape, "recipe": fixed, "data": {"paths": _names(data)}}


def _names(data: Sequence[str | Path]) -> list[str]:
    """Corpus paths without what only one machine has."""
    return ["/".join(Path(p).parts[-2:]) for p in data]


def _claim(out: Path, config: SoluConfig, recipe: Recipe, data: Sequence[str | Path]) -> None:
    """Refuse a folder that holds another run; otherwise write down whose it is."""
    file = out / "run.json"
    identity = json.loads(json.dumps(_identity(config, recipe, data)))
    if file.is_file():
        found = json.loads(file.read_text(encoding="utf-8"))
        differing = [
            f"{part}.{key} is {found.get(part, {}).get(key)!r} there and {value!r} here"
            for part, fields in identity.items()
            for key, value in fields.items()
            if found.get(part, {}).get(key) != value
        ]
        if differing:
            raise TrainingError(f"{out} holds another run: {'; '.join(differing)}. Give another --out")
    else:
        with written_aside(file) as aside:
            aside.write_text(json.dumps(identity, indent=1) + "\n", encoding="utf-8")


def _tokenizer(
    out: Path, config: SoluConfig, recipe: Recipe, data: Sequence[str | Path]
) -> PreTrainedTokenizerFast:
    if (out / "tokenizer.json").is_file():
        tokenizer = load_tokenizer(out)
        if len(tokenizer) != config.d_vocab:
            raise TrainingError(
                f"{out}/tokenizer.json has {len(tokenizer)} tokens, the model's d_vocab is {config.d_vocab}"
            )
        return tokenizer
    chance = random.Random(recipe.seed)
    # A share of a small corpus would teach little: then all of it, or as much as makes 20 MB.
    share = max(recipe.tokenizer_sample, _LEAST_SAMPLE / max(corpus_bytes(data) or _LEAST_SAMPLE, 1))

    def sample() -> Iterator[str]:
        for document in read_documents(data):
            if chance.random() < share:
                yield document.text

    tokenizer = train_tokenizer(sample(), config.d_vocab)
    with TemporaryDirectory(dir=out) as aside:
        tokenizer.save_pretrained(aside)
        for file in sorted(
            Path(aside).iterdir(), reverse=True
        ):  # tokenizer.json, what a resume looks for, last
            file.replace(out / file.name)
    return tokenizer


def _token_file(
    out: Path, tokenizer: PreTrainedTokenizerFast, data: Sequence[str | Path], *, progress: bool
) -> TokenFile:
    folder = out / "tokens"
    if folder.is_dir():
        tokens = TokenFile(folder)
        if tokens.meta.tokenizer == tokenizer_hash(tokenizer):
            return tokens
    return write_token_file(read_documents(data), tokenizer, folder, progress=progress)


def _warn_when_short(rows: Rows, recipe: Recipe, config: SoluConfig) -> None:
    epochs = recipe.n_steps() * recipe.batch_tokens / (len(rows) * config.n_ctx)
    if epochs > 1:
        _log.warning("the data holds %d tokens: it will be read %.1f times", len(rows) * config.n_ctx, epochs)


def _save_result(
    out: Path, model: SoluForCausalLM, recipe: Recipe, data: Sequence[str | Path], tokens: TokenFile
) -> None:
    """Weights in bf16, configuration, the loss curve and how the run was made."""
    weights = {name: t.detach().to(torch.bfloat16).contiguous() for name, t in model.state_dict().items()}
    with written_aside(out / "model.safetensors") as aside:
        save_file(weights, aside, metadata={"format": "pt"})
        aside.chmod(0o644)  # safetensors writes for the owner alone
    model.config.dtype = "bfloat16"
    model.config.use_cache = True  # Trainer turns it off; generation wants it
    model.config.save_pretrained(out)
    rows = read_metrics(out / "metrics.jsonl")
    with written_aside(out / "curve.parquet") as aside:
        pq.write_table(pa.Table.from_pylist(rows), aside, compression="zstd")
    record = {
        "recipe": asdict(recipe),
        "steps": recipe.n_steps(),
        "tokens": recipe.n_steps() * recipe.batch_tokens,
        "data": _names(data),
        "data_tokens": tokens.meta.n_tokens,
        "data_documents": tokens.meta.n_documents,
        "data_bytes": tokens.meta.n_bytes,
        "torch": torch.__version__,
        "final_train_loss": rows[-1]["loss"] if rows else None,
    }
    with written_aside(out / "training.json") as aside:
        aside.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
