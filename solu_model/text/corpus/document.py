"""A document with its provenance, the options that select text, and the names of corpora."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from solu_model.files import printable

MAX_CHARACTERS = 2**20
"""Longest text of a document. A longer one is read as several documents, so that memory stays bounded."""


class CorpusError(ValueError):
    """A corpus cannot be read. The message states what was expected, the value received and the fix."""


@dataclass(frozen=True, slots=True)
class Document:
    """A text and its provenance; unknown provenance is an empty string."""

    text: str
    source: str = ""
    """Kind of text, e.g. `code_rust`."""
    lang: str = ""
    """Language code, e.g. `en`."""
    licence: str = ""
    """Name of the licence of the text."""
    origin: str = ""
    """The exact place, e.g. `package==version:file`."""


@dataclass(frozen=True, slots=True)
class CorpusOptions:
    """The part of a corpus that is read, the same for every command."""

    split: str | None = None
    """Split of a data set, such as `train`; `all` for every one. None: the first of `preferred` that the data
    set has."""
    column: str = "text"
    """Column of a table, or key of a JSON object, that holds the text."""
    separator: str | None = None
    """Text between the documents of a text file. None: a file is one document."""
    revision: str | None = None
    """Branch, tag or commit of data sets of a hub."""
    preferred: tuple[str, ...] = ("train",)
    """Splits that are read where `split` is None, in order of preference."""

    def __post_init__(self) -> None:
        for name in ("split", "column", "separator", "revision"):
            if getattr(self, name) == "":
                raise CorpusError(f"expected a {name} that is not empty: give one, or leave out --{name}")

    @property
    def described(self) -> str:
        """The options that are not the default ones, such as `column content, split test`; may be empty."""
        default = DEFAULT_OPTIONS
        return ", ".join(
            f"{name} {printable(value)}"
            for name in ("column", "revision", "separator", "split")
            if (value := getattr(self, name)) != getattr(default, name)
        )


DEFAULT_OPTIONS = CorpusOptions()
"""All text of a corpus; of a data set with splits, `train`."""


def corpus_names(paths: Sequence[str | Path], options: CorpusOptions) -> list[str]:
    """Return the last two parts of each corpus path, without the folders of one machine.

    Options other than the default ones follow the name: they select other text of the same path.
    """
    selected = f" ({options.described})" if options.described else ""
    return [f"{printable(Path(*Path(p).parts[-2:]))}{selected}" for p in paths]
