"""Read a data set of a hub by its name, as `datasets` streams it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from solu_model.files import printable
from solu_model.text.corpus.document import (
    CorpusError,
    CorpusOptions,
    Document,
)
from solu_model.text.corpus.rows import PROVENANCE, Row, missing_column, row_document

_NAME = re.compile(r"(?P<name>[\w.-]+(?:/[\w.-]+)?)(?::(?P<config>[\w.-]+))?")
_MESSAGE = 400
"""Most characters of another library's message in one of ours."""


@dataclass(frozen=True, slots=True)
class HubName:
    """A data set of a hub: `NAME` or `NAME:CONFIG`."""

    name: str
    config: str | None = None


def hub_name(path: str) -> HubName:
    """Return the data set that a path names.

    Raises:
        CorpusError: it is no file, no folder and no name of a data set.
    """
    match = _NAME.fullmatch(path)
    if match is None or path.startswith((".", "-")):
        what = "is an address, which is not read" if "://" in path else "does not exist"
        raise CorpusError(
            f"{printable(path)[:200]} {what}: expected a file, a folder, or a data set of a hub as NAME or "
            "NAME:CONFIG"
        )
    return HubName(match["name"], match["config"])


def hub_documents(path: str, options: CorpusOptions) -> Iterator[Document]:
    """Yield the documents of a data set of a hub, as they come.

    Raises:
        CorpusError: there is no such data set, configuration, split or column, or it cannot be downloaded.
    """
    rows = hub_rows(hub_name(path), options)
    names = rows.column_names
    if names is not None:
        if options.column not in names:
            raise missing_column(path, options, names)
        # Others may be images or audio, which are decoded as they are read.
        rows = rows.select_columns([n for n in dict.fromkeys((options.column, *PROVENANCE)) if n in names])
    number = 0
    stream = iter(rows)
    while True:
        try:
            row = next(stream, None)
        except Exception as error:  # the readers behind `datasets` raise errors of many types
            raise CorpusError(
                f"{path}: reading stopped after row {number:,} ({_short(error)}). Is the connection gone? "
                "Try again, or download the data set and give its folder"
            ) from error
        if row is None:
            return
        number += 1
        yield row_document(Row(number, "row", row), path, options, source=path, origin=path)


def hub_columns(path: str, options: CorpusOptions) -> dict[str, str]:
    """Return the type of each column of a data set of a hub; empty if it does not say.

    Raises:
        CorpusError: as for `hub_documents`.
    """
    features = hub_rows(hub_name(path), options).features or {}
    return {str(name): str(getattr(feature, "dtype", "")) for name, feature in features.items()}


def hub_rows(hub: HubName, options: CorpusOptions) -> Any:
    """Open a data set of a hub for streaming.

    Raises:
        CorpusError: it cannot be opened, or has no such configuration or split.
    """
    from datasets import concatenate_datasets, load_dataset

    shown = (f"{hub.name}:{hub.config}" if hub.config else hub.name)[:200]
    try:
        splits = load_dataset(hub.name, hub.config, revision=options.revision, streaming=True)
    except Exception as error:  # as above
        message, advice = _short(error), "give a file, a folder or the name of a data set on the hub"
        if "Config name is missing" in message or "BuilderConfig" in message:
            advice = f"give the configuration as {hub.name}:CONFIG"
        raise CorpusError(
            f"{shown} is neither a local path nor a data set that can be downloaded ({message}): {advice}"
        ) from error
    if options.split == "all":
        return concatenate_datasets(list(splits.values()))
    wanted = options.preferred if options.split is None else (options.split,)
    for split in wanted:
        if split in splits:
            return splits[split]
    names = ", ".join(map(str, list(splits)[:20]))
    raise CorpusError(f"{shown} has no split {wanted[0]}: choose one of {names} with --split")


def _short(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _MESSAGE else text[:_MESSAGE] + "…"
