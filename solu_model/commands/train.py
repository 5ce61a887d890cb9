"""The command `solu train`: train a model, or resume, extend or decay a run."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from rich.console import Console

from solu_model.commands.options import (
    ColumnOption,
    DataOption,
    RevisionOption,
    SeparatorOption,
    SplitOption,
    corpus_options,
)


def train(
    data: DataOption,
    out: Annotated[
        Path,
        typer.Option(
            help="The run's folder: new, empty or of this run. The same command resumes a run that stopped."
        ),
    ],
    split: SplitOption = None,
    column: ColumnOption = "text",
    separator: SeparatorOption = None,
    revision: RevisionOption = None,
    preset: Annotated[
        str,
        typer.Option(
            help="Model and recipe: solu-1l, solu-2l, solu-4l, gelu-1l, gelu-2l, gelu-4l, gelu-ln-1l, "
            "solu-plain-1l, exp-ln-1l or solu-1l-small."
        ),
    ] = "solu-1l",
    tokens: Annotated[
        int | None, typer.Option(help="Tokens to train on, in place of the preset's; in whole steps.")
    ] = None,
    d_vocab: Annotated[int | None, typer.Option(help="Size of the vocabulary to learn.")] = None,
    d_model: Annotated[
        int | None,
        typer.Option(help="Width; the number of heads and four times as many neurons follow from it."),
    ] = None,
    d_mlp: Annotated[int | None, typer.Option(help="Neurons in a layer.")] = None,
    n_layers: Annotated[int | None, typer.Option(help="Layers.")] = None,
    n_ctx: Annotated[int | None, typer.Option(help="Tokens of a context, the BOS included.")] = None,
    act_fn: Annotated[
        str | None, typer.Option(help="Activation: solu_ln, solu, exp_ln, gelu or gelu_ln.")
    ] = None,
    n_mlp_blocks: Annotated[
        int | None, typer.Option(help="Blocks of neurons, each with its own softmax and LayerNorm.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of the initial weights and of the order of the data.")
    ] = None,
    optimizer: Annotated[
        str | None, typer.Option(help="adamw, or muon: Muon for the blocks' matrices, AdamW for the rest.")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Peak of the learning rate, in place of the preset's.")
    ] = None,
    schedule: Annotated[
        str | None, typer.Option(help="linear, cosine, or wsd: warm-up, stable, decay. wsd can be extended.")
    ] = None,
    warmup: Annotated[
        int | None,
        typer.Option(
            help="Steps until the learning rate reaches its peak. Default: 200, or a fifth of a short run."
        ),
    ] = None,
    decay_share: Annotated[
        float | None,
        typer.Option(help="Share of the steps, at the end, in which wsd lowers the rate to 0. Default: 0.2."),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(
            help="Tokens in a step, over all processes: a multiple of --n-ctx, else rounded down to one."
        ),
    ] = None,
    accumulate: Annotated[
        int | None,
        typer.Option(help="Pieces to cut a step's rows into; they run one after the other, to save memory."),
    ] = None,
    extend: Annotated[
        int | None,
        typer.Option(help="Lengthen the wsd run in OUT to this many tokens in total, from before its decay."),
    ] = None,
    decay_now: Annotated[
        bool,
        typer.Option("--decay-now", help="Begin the decay of the wsd run in OUT at its last checkpoint."),
    ] = False,
    init_from: Annotated[
        Path | None,
        typer.Option(
            help="A checkpoint folder of the same shape, whose weights and tokenizer the run begins with."
        ),
    ] = None,
    tokenizer_path: Annotated[
        str | None,
        typer.Option("--tokenizer", help="A tokenizer to use in place of one learned from the data."),
    ] = None,
    packed: Annotated[
        Path | None,
        typer.Option(
            help="The tokens/ folder of a run with the same data and tokenizer, to read instead of DATA."
        ),
    ] = None,
    held_out: Annotated[
        list[str] | None,
        typer.Option(help="Text to measure the held-out loss on during training, by source. Repeatable."),
    ] = None,
    snapshots: Annotated[
        int | None,
        typer.Option(
            help="Copies of the weights to write per doubling of the tokens, from the first million on."
        ),
    ] = None,
    bf16: Annotated[
        bool | None,
        typer.Option(
            "--bf16/--float32",
            help="Precision of matrix products. Default: bf16 if the machine has instructions for it.",
        ),
    ] = None,
    compile: Annotated[bool, typer.Option(help="Use torch.compile; needs a C++ compiler.")] = False,
    tensorboard: Annotated[
        bool, typer.Option(help="Also write the metrics for TensorBoard, into OUT/tensorboard.")
    ] = False,
    shard: Annotated[
        int, typer.Option(help="Under torchrun: processes that hold a part of every weight each (FSDP2).")
    ] = 1,
    tensor: Annotated[
        int, typer.Option(help="Under torchrun: processes that share every MLP's blocks of neurons.")
    ] = 1,
) -> None:
    """Train a model: tokenizer, packed data, training, weights in bf16. Resumes after a kill.

    Sizes and settings that you leave out are the preset's. On several processes, run
    torchrun --nproc-per-node N --no-python solu train ...
    """
    from solu_model.config import ActFn
    from solu_model.training import PRESETS, Layout, TrainingError, multiplies_bf16
    from solu_model.training import train as run
    from solu_model.training.processes import launched

    if preset not in PRESETS:
        raise typer.BadParameter(
            f"expected one of {', '.join(PRESETS)}, got {preset!r}", param_hint="--preset"
        )
    if extend is not None and (decay_now or tokens is not None):
        raise typer.BadParameter(
            "cannot be combined with --tokens or --decay-now: leave those out", param_hint="--extend"
        )
    config, recipe = PRESETS[preset]
    sizes = {
        "d_vocab": d_vocab,
        "d_mlp": d_mlp,
        "n_layers": n_layers,
        "n_ctx": n_ctx,
        "act_fn": act_fn,
        "n_mlp_blocks": n_mlp_blocks,
    }
    if d_model is not None:
        if d_model < 1 or d_model % config.d_head:
            raise typer.BadParameter(
                f"expected a multiple of d_head = {config.d_head}, got {d_model}", param_hint="--d-model"
            )
        sizes |= {
            "d_model": d_model,
            "n_heads": d_model // config.d_head,
            "d_mlp": 4 * d_model if d_mlp is None else d_mlp,
        }
    if act_fn is not None and act_fn not in (names := get_args(ActFn)):
        raise typer.BadParameter(f"expected one of {', '.join(names)}, got {act_fn!r}", param_hint="--act-fn")
    try:
        config = type(config).from_dict(config.to_dict() | {k: v for k, v in sizes.items() if v is not None})
    except Exception as error:  # strict dataclasses raise their own family of errors, of several lines
        reason = " ".join(str(error.__cause__ or error).split())[:300]
        raise TrainingError(f"there is no such model: {reason}. Give other sizes") from error
    given: dict[str, Any] = {
        "n_tokens": tokens if extend is None else extend,
        "seed": seed,
        "optimizer": optimizer,
        "learning_rate": learning_rate,
        "schedule": schedule,
        "warmup_steps": warmup,
        "decay_share": decay_share,
        "batch_tokens": batch,
        "accumulate": accumulate,
        "snapshots": snapshots,
        "bf16": multiplies_bf16() if bf16 is None else bf16,
        "compile": compile,
    }
    recipe = replace(recipe, **{name: value for name, value in given.items() if value is not None})
    run(
        config, recipe, data, out, text=corpus_options(split, column, separator, revision),
        tokenizer=tokenizer_path, packed=packed, init_from=init_from,
        held_out=held_out or (),
        change="extend" if extend is not None else "decay-now" if decay_now else None,
        layout=Layout(shard, tensor), tensorboard=tensorboard,
    )  # fmt: skip
    if launched()[0] == 0:
        Console(highlight=False).print(
            f"trained: {out}. Next: solu cache build --model {out} --data ... --out {out / 'neurons'}",
            markup=False,
            soft_wrap=True,
        )
