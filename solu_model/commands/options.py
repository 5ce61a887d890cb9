"""Options that several commands share: the model and its tokenizer."""

from typing import Annotated

import typer

ModelOption = Annotated[
    str,
    typer.Option("--model", help="A checkpoint folder, ours or in TransformerLens's format, or a hub name."),
]
TokenizerOption = Annotated[
    str | None, typer.Option("--tokenizer", help="A tokenizer in place of the checkpoint's own.")
]
