"""The command `solu train`. The other commands of this package are in `commands/`."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

DataOption = Annotated[
    list[str],
    typer.Option("--data", help="Parquet, JSON lines or text: a file, a folder or a hub name. Repeatable."),
]


def train(
    data: DataOption,
    out: Annotated[
        Path, typer.Option(help="The run's folder. The same command goes on where a run stopped.")
    ],
    preset: Annotated[str, typer.Option(help="Model and recipe.")] = "solu-1l",
    tokens: Annotated[int | None, typer.Option(help="Tokens to train on, in place of the preset's.")] = None,
    d_vocab: Annotated[int | None, typer.Option(help="Size of the vocabulary to learn.")] = None,
    d_model: Annotated[
        int | None,
        typer.Option(help="Width; the number of heads and four times as many neurons follow from it."),
    ] = None,
    d_mlp: Annotated[int | None, typer.Option(help="Neurons a layer.")] = None,
    n_layers: Annotated[int | None, typer.Option(help="Layers.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the weights and the order of the data.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Peak, in place of the preset's.")] = None,
    n_mlp_blocks: Annotated[
        int | None, typer.Option(help="Blocks of neurons, each with its own softmax and LayerNorm.")
    ] = None,
    bf16: Annotated[
        bool | None,
        typer.Option(
            "--bf16/--float32",
            help="Multiply matrices in this precision; where neither is said, bf16 on machines that can.",
        ),
    ] = None,
    compile: Annotated[bool, typer.Option(help="Use torch.compile; needs a C++ compiler.")] = False,
    tensorboard: Annotated[
        bool, typer.Option(help="Write the metrics for TensorBoard too, into OUT/tensorboard.")
    ] = False,
    shard: Annotated[
        int, typer.Option(help="Under torchrun: processes that hold a part of every weight each (FSDP2).")
    ] = 1,
    tensor: Annotated[
        int, typer.Option(help="Under torchrun: processes that share every MLP's blocks of neurons.")
    ] = 1,
) -> None:
    """Train a model: tokenizer, packed data, training, weights in bf16. Resumes after a kill.

    On several processes: torchrun --nproc-per-node N --no-python solu train ...
    """
    from solu_model.training import PRESETS, Layout, multiplies_bf16
    from solu_model.training import train as run

    if preset not in PRESETS:
        raise typer.BadParameter(
            f"expected one of {', '.join(PRESETS)}, got {preset!r}", param_hint="--preset"
        )
    config, recipe = PRESETS[preset]
    sizes = {"d_vocab": d_vocab, "d_mlp": d_mlp, "n_layers": n_layers, "n_mlp_blocks": n_mlp_blocks}
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
    config = type(config).from_dict(config.to_dict() | {k: v for k, v in sizes.items() if v is not None})
    recipe = replace(
        recipe,
        n_tokens=recipe.n_tokens if tokens is None else tokens,
        seed=recipe.seed if seed is None else seed,
        learning_rate=recipe.learning_rate if learning_rate is None else learning_rate,
        bf16=multiplies_bf16() if bf16 is None else bf16,
        compile=compile,
    )
    run(config, recipe, data, out, layout=Layout(shard, tensor), tensorboard=tensorboard)
    if os.environ.get("RANK", "0") == "0":
        Console().print(
            f"trained: {out}. Next: [bold]solu cache build --model {out} --data ... --out {out}/neurons"
        )
