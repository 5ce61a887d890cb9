"""Train a model: `solu train --preset solu-1l --data PATH --out DIR`, on one process or under `torchrun`.

The run's folder, which all processes must see:

    tokenizer.json ...      learned from a sample of the data, or given
    tokens/                 the data, packed (solu_model.text.token_file), or a link to a given folder
    checkpoints/            step-N folders, each complete
    run.json, run.lock      identity of the run, and a lock: another run or a second process is refused
    metrics.jsonl           a row every `log_every` steps (columns in `metrics.py`)
    snapshots/              step-N folders of weights during training, if requested
    config.json, model.safetensors, curve.parquet, training.json    the result, in bf16
"""

import fcntl
import json
import logging
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from copy import deepcopy
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import pyarrow as pa
import pyarrow.parquet as pq
import torch
import torch.distributed as dist
from torch import Tensor
from transformers import PreTrainedTokenizerFast, set_seed

from solu_model.config import SoluConfig
from solu_model.files import is_disk_error, printable, written_aside
from solu_model.loading.checkpoints import load_checkpoint, load_tokenizer
from solu_model.model import SoluForCausalLM
from solu_model.targets import TargetError, check_target
from solu_model.text.corpus.identity import corpus_differences, identify_corpus
from solu_model.text.documents import (
    DEFAULT_OPTIONS,
    CorpusOptions,
    check_corpus,
    corpus_bytes,
    corpus_names,
    is_local,
    read_documents,
)
from solu_model.text.token_file import TokenFile, write_token_file
from solu_model.text.tokenizer import tokenizer_hash, train_tokenizer
from solu_model.training.batches import Batches
from solu_model.training.held_out import held_out_losses, held_out_sample
from solu_model.training.identity import LengthChange, claim, holds_run, recorded_recipe
from solu_model.training.loop import check_compiler, run_steps
from solu_model.training.memory import check_memory, keep_freed_memory
from solu_model.training.metrics import RunMetrics, board_writer, read_metrics
from solu_model.training.processes import Layout, Processes, processes
from solu_model.training.recipe import Recipe, TrainingError
from solu_model.training.sharding import spread
from solu_model.training.snapshots import (
    bf16_weights,
    drop_later_snapshots,
    snapshot_steps,
    write_snapshot,
    write_weights,
)

_log = logging.getLogger(__name__)

_LEAST_SAMPLE = 20_000_000  # bytes of text that the tokenizer is trained on, if there are as many


def train(
    config: SoluConfig,
    recipe: Recipe,
    data: Sequence[str | Path],
    out: Path,
    *,
    text: CorpusOptions = DEFAULT_OPTIONS,
    tokenizer: str | Path | None = None,
    packed: Path | None = None,
    init_from: Path | None = None,
    held_out: Sequence[str | Path] = (),
    change: LengthChange | None = None,
    layout: Layout | None = None,
    progress: bool = True,
    tensorboard: bool = False,
) -> None:
    """Train to the end of the recipe, resuming from the last checkpoint in `out`.

    Args:
        config: the model; `d_vocab` is the size of the tokenizer to learn.
        recipe: hyper-parameters.
        data: corpus paths, see `solu_model.text.documents`.
        out: the run's folder, to which the weights are written in bf16. A folder of a run with another
            configuration or recipe is refused.
        text: the part of `data` that is text.
        tokenizer: a tokenizer to use in place of one learned from the data, see `load_tokenizer`.
        packed: the `tokens/` folder of another run with the same data and tokenizer, read where it is.
        init_from: a checkpoint whose weights the run begins with; its tokenizer is then the default.
        held_out: corpus paths to measure the held-out loss on during training, see `held_out`. Of a data set
            with splits, `validation` is read, or `test`.
        change: make the run in `out` longer or shorter, see `LengthChange`.
        layout: how the processes that `torchrun` started share the work; None: all are replicas.
        progress: draw progress bars.
        tensorboard: write the metrics for TensorBoard too, into `out/tensorboard`.

    Raises:
        CorpusError: the text cannot be read.
        TrainingError: `out` holds another run or something else, its tokens were packed from other text, the
            data is too small for a step, the processes do not fit the layout, the model or its initial
            weights do not fit, the loss became NaN or infinite, or the disk is full. Saved checkpoints stay.
        Stopped: SIGTERM or SIGINT was received; the run was saved, and the same call resumes it.
    """
    layout = layout or Layout()
    layout.check(config.n_mlp_blocks)
    if config.n_ctx < 2:
        raise TrainingError(f"n_ctx must be at least 2, the BOS and a token to predict, got {config.n_ctx}")
    recipe = recipe.of_whole_rows(config.n_ctx)
    check_memory(config)
    if recipe.compile:
        check_compiler()
    keep_freed_memory()
    held_out_text = replace(text, split=None, preferred=("validation", "test", "train"))
    with (
        processes(layout) as group,
        _disk_errors(out),
        _held(out) if group.is_first else nullcontext(),
    ):

        def prepare() -> None:
            if tensorboard:
                board_writer(out / "tensorboard")
            if packed is None and not (out / "tokens").is_dir():
                check_corpus(data, text)
            if held_out:  # hours of packing may come before it is read
                check_corpus(held_out, held_out_text)
            if packed is not None:
                TokenFile(packed)
            if init_from is not None:
                _check_weights(init_from, config)
            claim(out, config, recipe, data, init_from, change, text)
            vocabulary = _tokenizer(out, config, recipe, data, text, tokenizer or init_from)
            _token_file(out, vocabulary, recipe, data, text, packed, progress=progress)

        _first_alone(group, prepare)
        tokens = TokenFile(out / "tokens")
        if tokens.meta.bos_id >= config.d_vocab:
            raise TrainingError(
                f"{tokens.path} has a BOS of id {tokens.meta.bos_id}, but the model has {config.d_vocab} "
                "tokens: its meta.json is damaged. Remove the folder and run the same command again"
            )
        config = deepcopy(config)
        config.bos_token_id = tokens.meta.bos_id  # every row of training begins with it
        recipe = recorded_recipe(out, recipe)
        rows = recipe.batch_tokens // config.n_ctx
        batches = Batches(
            tokens, config.n_ctx, rows, recipe.seed, group.part, group.n_parts, recipe.accumulate,
            config.d_vocab,
        )  # fmt: skip
        set_seed(recipe.seed)
        model = SoluForCausalLM(deepcopy(config))  # saving a model writes to its configuration
        if init_from is not None:
            model.load_state_dict(load_checkpoint(init_from)[0].state_dict())
        cast(torch.nn.Module, model).to(group.device)
        _warn_when_short(batches, recipe, config)
        spread(model, group)
        sample = (
            held_out_sample(read_documents(held_out, held_out_text), load_tokenizer(out), config.n_ctx)
            if held_out
            else {}
        )
        metrics = RunMetrics(
            out / "metrics.jsonl", recipe, recipe.batch_tokens, batches, writes=group.is_first,
            progress=progress, board=out / "tensorboard" if tensorboard else None,
        )  # fmt: skip
        snapshots = out / "snapshots"

        def begin(done: int) -> None:
            if done == 0 and (out / "training.json").is_file():
                raise TrainingError(
                    f"{out} holds the result of this run, but no checkpoint to go on from: it would be "
                    "trained again from the start. Give another --out, or remove its training.json first"
                )
            metrics.begin(done)
            if group.is_first:
                drop_later_snapshots(snapshots, done)

        def tick(step: int) -> None:
            metrics.tick()
            if step in snapshot_steps(recipe):
                weights = bf16_weights(model)
                if group.is_first:
                    write_snapshot(snapshots, step, config, weights)

        def log(step: int, loss: float, norm: float, learning_rate: float) -> None:
            losses: dict[str, float] = {}
            if sample and (step % recipe.held_out_every == 0 or step == recipe.n_steps()):
                losses = held_out_losses(model, sample, group.device, bf16=recipe.bf16)
            metrics.log(step, loss, norm, learning_rate, losses)

        with closing(metrics):  # after an error too, so that its message has a line of its own
            run_steps(model, batches, recipe, out / "checkpoints", group, begin=begin, tick=tick, log=log)
        weights = bf16_weights(model)
        if group.is_first:
            _save_result(out, config, weights, recipe, corpus_names(data, text), tokens)
        group.wait()


@contextmanager
def _held(out: Path) -> Iterator[None]:
    """Keep other runs out of the folder for as long as this process lives.

    Raises:
        TrainingError: another process is training in it, or it holds something else than a run.
    """
    try:
        check_target(out, "training run", holds_run)
    except TargetError as error:
        raise TrainingError(str(error)) from error
    out.mkdir(parents=True, exist_ok=True)
    with open(out / "run.lock", "w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise TrainingError(
                f"another process is training in {out}: wait for it, or end it (where its torchrun was "
                "killed, its workers may still be there)"
            ) from error
        except OSError as error:  # file systems of clusters often have no locks
            _log.warning(
                "%s is on a disk without file locks (%s): see to it that no other process trains there",
                out,
                error.strerror,
            )
        yield


@contextmanager
def _disk_errors(out: Path) -> Iterator[None]:
    """Turn a full or read-only disk into an error that says what to do. Files are written whole or not."""
    try:
        yield
    except Exception as error:
        if not is_disk_error(error):
            raise
        raise TrainingError(
            f"{out} cannot be written ({error}). Free some space there and run the same command again: it "
            "resumes from the last checkpoint"
        ) from error


def _first_alone(group: Processes, prepare: Callable[[], None]) -> None:
    """Let the first process prepare the folder while the others wait."""
    waiting = None if group.mesh is None else dist.new_group(backend="gloo", timeout=timedelta(days=2))
    if group.is_first:
        prepare()
    if waiting is not None:
        dist.barrier(waiting)


def _check_weights(source: Path, config: SoluConfig) -> None:
    """Refuse a checkpoint as the beginning of a run if it has other parameters than the model.

    Raises:
        TrainingError: names the first parameter that differs.
    """
    given = load_checkpoint(source)[0]
    with torch.device("meta"):
        model = SoluForCausalLM(deepcopy(config))
    given_shapes, own_shapes = (
        {name: list(w.shape) for name, w in weights.state_dict().items()} for weights in (given, model)
    )
    if differing := [n for n in own_shapes | given_shapes if own_shapes.get(n) != given_shapes.get(n)]:
        name = differing[0]
        raise TrainingError(
            f"this run cannot begin with the weights of {source}: expected {name} of shape "
            f"{own_shapes.get(name, 'none')}, found "
            f"{given_shapes.get(name, 'none')} ({len(differing)} parameters differ). Give the run the "
            "checkpoint's shape (--d-vocab, --d-model, --d-mlp, --n-layers, --n-ctx, --act-fn), or another "
            "checkpoint"
        )


def _tokenizer(
    out: Path,
    config: SoluConfig,
    recipe: Recipe,
    data: Sequence[str | Path],
    text: CorpusOptions,
    given: str | Path | None,
) -> PreTrainedTokenizerFast:
    """Return the run's tokenizer: the one in the folder, the given one, or one trained on the data now."""
    tokenizer = load_tokenizer(given) if given is not None else None
    if (out / "tokenizer.json").is_file():
        own = load_tokenizer(out)
        if tokenizer is not None and tokenizer_hash(tokenizer) != tokenizer_hash(own):
            raise TrainingError(
                f"{out} has another tokenizer than {given}: give another --out, or leave out --tokenizer"
            )
        tokenizer = own
    if tokenizer is not None:
        if len(tokenizer) != config.d_vocab:
            raise TrainingError(
                f"the tokenizer of {given or out} has {len(tokenizer)} tokens, but the model's d_vocab is "
                f"{config.d_vocab}: give --d-vocab {len(tokenizer)}, or another tokenizer"
            )
        if not (out / "tokenizer.json").is_file():
            _save_tokenizer(tokenizer, out)
        return tokenizer
    chance = random.Random(recipe.seed)
    # A share of a small corpus is too little to train on: take at least 20 MB, or all of it.
    size = corpus_bytes(data, text)
    share = 1.0 if size is None else max(recipe.tokenizer_sample, _LEAST_SAMPLE / max(size, 1))

    def sample() -> Iterator[str]:
        n_characters = 0
        for document in read_documents(data, text):
            if chance.random() < share:
                yield document.text
                n_characters += len(document.text)
            # A data set of a hub is not downloaded to its end, which may be far away.
            if size is None and n_characters > _LEAST_SAMPLE:
                return

    tokenizer = train_tokenizer(sample(), config.d_vocab)
    _save_tokenizer(tokenizer, out)
    return tokenizer


def _save_tokenizer(tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    with TemporaryDirectory(dir=out) as aside:
        tokenizer.save_pretrained(aside)
        # tokenizer.json last: a run that resumes looks for it
        for file in sorted(Path(aside).iterdir(), reverse=True):
            file.replace(out / file.name)


def _token_file(
    out: Path,
    tokenizer: PreTrainedTokenizerFast,
    recipe: Recipe,
    data: Sequence[str | Path],
    text: CorpusOptions,
    packed: Path | None,
    *,
    progress: bool,
) -> None:
    """Make `tokens/` if it is missing: a link to `packed`, or the data packed now.

    Of data sets of a hub, as much is packed as the run needs.

    Raises:
        TrainingError: the tokens there are of other text, or of another tokenizer.
    """
    folder, expected = out / "tokens", tokenizer_hash(tokenizer)
    if folder.is_dir() and TokenFile(folder).meta.tokenizer == expected:
        _check_text(TokenFile(folder), data, text)
        return
    if packed is None:
        needed = recipe.n_tokens + recipe.batch_tokens if corpus_bytes(data, text) is None else None
        write_token_file(
            read_documents(data, text), tokenizer, folder, corpus=identify_corpus(data, text),
            max_tokens=needed, progress=progress,
        )  # fmt: skip
        return
    _check_text(TokenFile(packed), data, text)
    if TokenFile(packed).meta.tokenizer != expected:
        raise TrainingError(
            f"{packed} was packed with another tokenizer than {out}/tokenizer.json: give that "
            "tokenizer with --tokenizer, or leave out --packed"
        )
    with written_aside(folder) as aside:
        aside.symlink_to(packed.resolve(), target_is_directory=True)


def _check_text(tokens: TokenFile, data: Sequence[str | Path], text: CorpusOptions) -> None:
    """Raise TrainingError if tokens were packed from other text than the data is now."""
    then = tokens.corpus()
    if then is None:
        _log.warning(
            "%s does not say what text it was packed from, since an earlier version wrote it: it is not "
            "compared with --data",
            tokens.path,
        )
        return
    if absent := [path for path in data if not is_local(path) and printable(path) not in then.data_sets]:
        _log.warning("%s is not compared with --data: %s is not here", tokens.path, printable(absent[0]))
        return
    if differing := corpus_differences(then, identify_corpus(data, text, then)):
        raise TrainingError(
            f"{tokens.path} was packed from other text than --data holds now: {differing}. Give the text as "
            "it was, or train in another --out without --packed"
        )


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
    data: list[str],
    tokens: TokenFile,
) -> None:
    """Write the weights in bf16, the configuration, the training curve and a record of the run."""
    write_weights(out, config, weights)
    rows = read_metrics(out / "metrics.jsonl")
    columns = {name: None for row in rows for name in row}  # not every row has the held-out losses
    with written_aside(out / "curve.parquet") as aside:
        table = pa.table({name: [row.get(name) for row in rows] for name in columns})
        pq.write_table(table, aside, compression="zstd")
    record = {
        "recipe": asdict(recipe),
        "steps": recipe.n_steps(),
        "tokens": recipe.n_steps() * recipe.batch_tokens,  # all seen: of whole rows
        "data": data,
        "data_tokens": tokens.meta.n_tokens,
        "data_documents": tokens.meta.n_documents,
        "data_bytes": tokens.meta.n_bytes,
        "torch": torch.__version__,
        "final_train_loss": rows[-1]["loss"] if rows else None,
    }
    with written_aside(out / "training.json") as aside:
        aside.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
