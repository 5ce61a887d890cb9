"""Options of the commands: data, model, tokenizer."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from solu_model.text.documents import CorpusOptions

_DATA_HELP = (
    "A file, a folder, or a data set of a hub as NAME or NAME:CONFIG; `solu data` shows what is read. "
    "Repeatable."
)

DataOption = Annotated[list[str], typer.Option("--data", help=_DATA_HELP)]
OptionalDataOption = Annotated[list[str] | None, typer.Option("--data", help=_DATA_HELP)]
SplitOption = Annotated[
    str | None,
    typer.Option("--split", help="Split of a data set to read, or all. Default: train, if there are splits."),
]
ColumnOption = Annotated[
    str, typer.Option("--column", help="Column of a table, or key of a JSON object, that holds the text.")
]
SeparatorOption = Annotated[
    str | None,
    typer.Option(
        "--separator",
        help="Text between the documents of a text file, such as <|endoftext|>; \\n is a line break. "
        "Default: a file is one document.",
    ),
]
RevisionOption = Annotated[
    str | None, typer.Option("--revision", help="Branch, tag or commit of a data set of a hub.")
]
ModelOption = Annotated[
    str,
    typer.Option("--model", help="Checkpoint: a folder, a weights file in one, or a hub name."),
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


def corpus_options(
    split: str | None, column: str, separator: str | None, revision: str | None
) -> "CorpusOptions":
    """Return the options that select text, from those of a command."""
    from solu_model.text.documents import CorpusOptions

    if separator is not None:
        separator = separator.replace("\\n", "\n").replace("\\t", "\t")
    return CorpusOptions(split, column, separator, revision)
