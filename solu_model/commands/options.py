"""Options that several commands share: the model and its tokenizer."""

from typing import Annotated

import typer

ModelOption = Annotated[
    str,
    typer.Option("--model", help="Checkpoint: a folder in our format or TransformerLens's, or a hub name."),
]
TokenizerOption = Annotated[
    str | None, typer.Option("--tokenizer", help="Tokenizer to use in place of the checkpoint's own.")
]
