"""Options of the commands: data, model, tokenizer."""

from typing import Annotated

import typer

DataOption = Annotated[
    list[str],
    typer.Option("--data", help="Parquet, JSON lines or text: a file, a folder or a hub name. Repeatable."),
]
ModelOption = Annotated[
    str,
    typer.Option("--model", help="Checkpoint: a folder, a weights file in one, or a hub name."),
]
TokenizerOption = Annotated[
    str | None, typer.Option("--tokenizer", help="Tokenizer to use in place of the checkpoint's own.")
]
