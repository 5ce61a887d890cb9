"""Options of the commands: data, model, tokenizer."""

from typing import Annotated

import typer

DataOption = Annotated[
    list[str],
    typer.Option("--data", help="Parquet, JSON lines or text: a file, a folder or a hub name. Repeatable."),
]
ModelOption = Annotated[
    str,
    typer.Option("--model", help="Checkpoint: a folder in our format or TransformerLens's, or a hub name."),
]
BosOption = Annotated[
    str | None,
    typer.Option(
        "--bos",
        help="First token of every context: none, or a token's id or text. Default: the tokenizer's BOS, or "
        "else that of config.json.",
    ),
]
ContextOption = Annotated[
    int | None,
    typer.Option("--n-ctx", min=1, help="Tokens of a context, the BOS included. Default: the model's most."),
]
TokenizerOption = Annotated[
    str | None, typer.Option("--tokenizer", help="Tokenizer to use in place of the checkpoint's own.")
]
