"""Train a model: `solu train --preset solu-1l --data PATH --out DIR`, on one process or under `torchrun`.

The run's folder, which all processes have to see:

    tokenizer.json ...      learned from a sample of the data
    tokens/                 the data, packed (solu_model.text.token_file)
    checkpoints/            step-N folders, there once they are whole
    run.json, run.lock      which run it is; another one is refused, and a second process while there is one
    metrics.jsonl           a row every `log_every` steps
    config.json, model.safetensors, curve.parquet, training.json    the result, in bf16
"""

import fcntl
import json
import logging
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedTokenizerFast, set_seed

from solu_model.config import SoluConfig
from solu_model.files import written_aside
from solu_model.loading.checkpoints import load_tokenizer
from solu_model.model import SoluForCausalLM
from solu_model.text.documents import corpus_bytes, read_documents
from solu_model.text.token_file import TokenFile, write_token_file
from solu_model.text.tokenizer import tokenizer_hash, train_tokenizer
from solu_model.training.batches import Batches
from solu_model.training.loop import run_steps
from solu_model.training.memory import keep_freed_memory
from solu_model.training.metrics import RunMetrics, read_metrics
from solu_model.training.processes import Layout, Processes, processes
from solu_model.training.recipe import Recipe, TrainingError
from solu_model.training.sharding import spread, whole

_log = logging.getLogger(__name__)

_LEAST_SAMPLE = 20_000_000  # bytes of text for the tokenizer to learn from, where there are so many


def train(
    config: SoluConfig,
    recipe: Recipe,
    data: Sequence[str | Path],
    out: Path,
    *,
    layout: Layout | None = None,
    progress: bool = True,
    tensorboard: bool = False,
) -> None:
    """Train to the end of the recipe, going on from the last checkpoint in `out`.

    Args:
        config: the model; `d_vocab` is the size of the tokenizer to learn.
        recipe: hyper-parameters.
        data: corpus paths, see `solu_model.text.documents`.
        out: the run's folder, where the weights will be in bf16. One that was made with another configuration
            or recipe is refused.
        layout: how the processes that `torchrun` started share the work; replicas where None.
        progress: draw progress bars.
        tensorboard: write the metrics for TensorBoard too, into `out/tensorboard`.

    Raises:
        TrainingError: `out` holds another run, the data is too small for a step, the processes cannot be laid
            out so, the loss stopped being a number, or a checkpoint cannot be written.
    """
    layout = layout or Layout()
    layout.check(config.n_mlp_blocks)
    keep_freed_memory()
    with processes(layout) as those, _held(out) if those.is_first else nullcontext():
        tokens = _prepared(config, recipe, data, out, those, progress=progress and those.is_first)
        rows = max(1, recipe.batch_tokens // config.n_ctx)
        batches = Batches(tokens, config.n_ctx, rows, recipe.seed, those.part, those.n_parts)
        set_seed(recipe.seed)
        model = SoluForCausalLM(deepcopy(config))  # saving a model writes to its configuration
        cast(torch.nn.Module, model).to(those.device)
        _warn_when_short(batches, recipe, config)
        spread(model, those)
        metrics = RunMetrics(
            out / "metrics.jsonl", recipe, rows * config.n_ctx, batches, writes=those.is_first,
            progress=progress, board=out / "tensorboard" if tensorboard else None,
        )  # fmt: skip
        run_steps(
            model, batches, recipe, out / "checkpoints", those,
            begin=metrics.begin, tick=metrics.tick, log=metrics.log,
        )  # fmt: skip
        metrics.close()
        weights = {name: whole(t.detach()).to(torch.bfloat16) for name, t in model.state_dict().items()}
        if those.is_first:
            _save_result(out, cast(SoluConfig, model.config), weights, recipe, data, tokens)
        those.wait()


@contextmanager
def _held(out: Path) -> Iterator[None]:
    """Keep other runs out of the folder for as long as this process lives.

    Raises:
        TrainingError: one is in it.
    """
    out.mkdir(parents=True, exist_ok=True)
    with open(out / "run.lock", "w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise TrainingError(
                f"another process is training in {out}: wait for it, or end it (where its torchrun was "
                "killed, its workers may still be there)"
            ) from error
        yield


def _prepared(
    config: SoluConfig,
    recipe: Recipe,
    data: Sequence[str | Path],
    out: Path,
    those: Processes,
    *,
    progress: bool,
) -> TokenFile:
    """The packed data, which the first process makes while the others wait."""
    waiting = None if those.mesh is None else dist.new_group(backend="gloo", timeout=timedelta(days=2))
    if those.is_first:
        _claim(out, config, recipe, data)
        _token_file(out, _tokenizer(out, config, recipe, data), data, progress=progress)
    if waiting is not None:
        dist.barrier(waiting)
    return TokenFile(out / "tokens")


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


def _warn_when_short(batches: Batches, recipe: Recipe, config: SoluConfig) -> None:
    epochs = recipe.n_steps() / batches.steps_per_epoch
    if epochs > 1 and batches.part == 0:
        n_tokens = batches.tokens.n_rows(config.n_ctx) * config.n_ctx
        _log.warning("the data holds %d tokens: it will be read %.1f times", n_tokens, epochs)


def _save_result(
    out: Path,
    config: SoluConfig,
    weights: dict[str, Tensor],
    recipe: Recipe,
    data: Sequence[str | Path],
    tokens: TokenFile,
) -> None:
    """Weights in bf16, configuration, the loss curve and how the run was made."""
    with written_aside(out / "model.safetensors") as aside:
        save_file({n: w.contiguous().cpu() for n, w in weights.items()}, aside, metadata={"format": "pt"})
        aside.chmod(0o644)  # safetensors writes for the owner alone
    config.dtype = "bfloat16"
    config.save_pretrained(out)
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
