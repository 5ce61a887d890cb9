"""The command `solu convert`: write a checkpoint in our format or in TransformerLens's."""

import logging
from pathlib import Path
from typing import Annotated, Literal

import typer

Format = Literal["solu", "transformerlens"]


def convert(
    src: Annotated[
        str, typer.Argument(help="Checkpoint: a folder in our format or TransformerLens's, or a hub name.")
    ],
    dst: Annotated[Path, typer.Argument(help="Folder to write; must not exist yet, or be empty.")],
    to: Annotated[Format, typer.Option(help="Format to write.")] = "solu",
    tokenizer: Annotated[
        str | None, typer.Option(help="Tokenizer to write with it: a folder, a tokenizer.json or a hub name.")
    ] = None,
    tokens: Annotated[
        int | None, typer.Option(help="Convert the training checkpoint taken after this many tokens.")
    ] = None,
    to_solu_ln: Annotated[
        bool, typer.Option("--to-solu-ln", help="Convert an exp_ln model to the equal solu_ln model.")
    ] = False,
) -> None:
    """Write a checkpoint in another format: weights in float32, configuration, tokenizer."""
    from safetensors import SafetensorError

    from solu_model.loading.checkpoints import CheckpointError, load_checkpoint, save_checkpoint
    from solu_model.loading.exponential_models import to_solu_ln as convert_exp_ln
    from solu_model.loading.transformerlens import save_transformerlens
    from solu_model.targets import check_target

    logging.basicConfig(format="%(message)s", level=logging.INFO)
    try:
        check_target(dst, "checkpoint")
        model, loaded = load_checkpoint(src, tokenizer=tokenizer, tokens=tokens)
        if to_solu_ln:
            model = convert_exp_ln(model)
        save = save_checkpoint if to == "solu" else save_transformerlens
        try:
            save(model, dst, loaded)
        # On a full disk safetensors and torch raise errors of their own.
        except (OSError, SafetensorError, RuntimeError) as error:
            raise CheckpointError(
                f"{dst} cannot be written ({str(error)[:200]}): free some space there, or give another place"
            ) from error
    except ValueError as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from error
    config = model.config
    typer.echo(
        f"{dst}: {config.act_fn}, {config.n_layers} layers of {config.d_mlp} neurons, "
        f"{'with' if loaded is not None else 'without'} a tokenizer"
    )
