"""Find the files of a corpus path: kinds, links, splits, and what is left out.

A path is never a pattern. Hidden files and folders are not looked at. A linked folder is followed, and what
links reach twice is read once. Of a data set as fetched from a hub or written by `datasets`, the data files
are taken and the files that describe it are left out.
"""

import json
import os
import re
import stat
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from solu_model.files import printable
from solu_model.text.corpus.document import (
    CorpusError,
    CorpusOptions,
)

Kind = Literal["text", "json", "csv", "parquet", "arrow"]
Compression = Literal["gzip", "zstd", "bz2", "xz"]

KINDS: dict[str, Kind] = {
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "text",
    ".md": "text",
}
"""Kind of a file by its suffix."""

COMPRESSIONS: dict[str, Compression] = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2", ".xz": "xz"}
"""Compression of a file by its last suffix."""

FORMATS = f"{', '.join(KINDS)}, each also with {', '.join(COMPRESSIONS)}"
"""Suffixes of the files that can be read, for messages."""

_MOST_OBJECT = 2**25  # bytes of a JSON file that may be one object
_ARCHIVES = {".zip", ".tar", ".tgz", ".tbz2", ".txz", ".7z", ".rar"}
_CARDS = {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "croissant.json"}
# Beside tables, these describe them; among text files alone they are texts like the others.
_COMPANIONS = {"readme", "license", "licence", "notice", "citation", "copying", "changelog"}

_METADATA = re.compile(
    rb"\n(configs|dataset_info|license|language|task_categories|pretty_name|size_categories|tags):"
)

_CANONICAL = {
    name: canonical
    for canonical, names in {
        "train": ("train", "training"),
        "validation": ("validation", "valid", "val", "dev", "development"),
        "test": ("test", "testing", "eval", "evaluation"),
    }.items()
    for name in names
}
"""Usual names of splits."""
_KEYWORD = "|".join(sorted(_CANONICAL, key=len, reverse=True))
# `train-00000-of-00002-0123abcd`, `train_sft-00000-of-00001`: the split is all before the number.
_NUMBERED = re.compile(r"(?i)(?P<split>[a-z0-9_]+)-\d{5}-of-\d{5}(-[0-9a-f]+)?")
_PART = re.compile(r"(?P<head>.*?)(?P<number>\d{4,6})-of-(?P<total>\d{4,6})(?!\d).*", re.DOTALL)
# `train`, `c4-train.00000-of-01024`, `wiki.train`, `train-part-3`.
_NAMED = re.compile(
    rf"(?i)(?:.*[-._ ])?(?P<split>{_KEYWORD})(?:[-._ ]*(?:of|part|shard|chunk|set|data|raw|\d+))*"
)


@dataclass(frozen=True, slots=True)
class CorpusFile:
    """A file of text."""

    path: Path
    kind: Kind
    n_bytes: int
    """Size on disk."""
    name: str
    """Path within the corpus path, as it can be shown."""
    compression: Compression | None = None
    split: str | None = None
    """Split of a data set that it belongs to, None if its name tells none."""

    @property
    def shown(self) -> str:
        """The whole path, for messages."""
        return printable(self.path)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A file or folder that is not read."""

    name: str
    reason: str


@dataclass
class FileSelection:
    """The files of one corpus path."""

    path: str
    """The path, as it can be shown."""
    files: list[CorpusFile] = field(default_factory=list)
    """In name order."""
    left_out: list[LeftOut] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """Choices that were made, each a sentence."""
    is_partial: bool = False
    """True if the search ended before all of the folder was seen."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """A regular file of a folder."""

    path: Path
    parts: tuple[str, ...]
    """Of the path within the folder."""
    n_bytes: int
    is_linked: bool
    """True if it, or a folder above it, is a link."""


def find_files(path: Path, options: CorpusOptions, most: int | None = None) -> FileSelection:
    """Find the files of a corpus path.

    Args:
        path: a file or a folder.
        options: the split to choose.
        most: number of entries of a folder after which the search ends; None: it is complete.

    Raises:
        CorpusError: there is no text, or no such split.
    """
    shown = printable(path)
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        raise CorpusError(
            f"{shown} cannot be opened ({_reason(error)}): expected a file or a folder"
        ) from error
    found = FileSelection(shown)
    if not stat.S_ISDIR(status.st_mode):
        found.files = [_given_file(path, status)]
        return _chosen(found, options) if options.split else found
    entries = _walk(path, found, most)
    found.files = _files(entries, found, options)
    _note_configurations(entries, found)
    if not found.files:
        raise CorpusError(f"{shown} holds no text: expected files that end in {FORMATS}{_summary(found)}")
    chosen = _chosen(found, options)
    if not found.is_partial:
        _note_missing_parts(chosen)
        _note_copies(chosen)
    return chosen


def kind_of(name: str) -> tuple[Kind | None, Compression | None]:
    """Return the kind and the compression of a file, by the suffixes of its name in any case."""
    stem, suffix = _splitext(name.lower())
    compression = COMPRESSIONS.get(suffix)
    if compression is not None:
        suffix = _splitext(stem)[1]
    return KINDS.get(suffix), compression


def left_out_lines(found: Iterable[FileSelection], most_names: int = 3, most_lines: int = 20) -> list[str]:
    """Return a sentence for each reason to leave files out, with their number and some of their names.

    The reasons of most files come first; those beyond `most_lines` are counted in the last sentence.
    """
    names: dict[tuple[str, str], list[str]] = {}
    for one in found:
        for item in one.left_out:
            names.setdefault((one.path, item.reason), []).append(item.name)
    lines = []
    groups = sorted(names.items(), key=lambda item: -len(item[1]))
    for (path, reason), group in groups[:most_lines]:
        more = f" and {len(group) - most_names:,} more" if len(group) > most_names else ""
        lines.append(f"left out of {path}: {', '.join(group[:most_names])}{more} ({reason})")
    if others := groups[most_lines:]:
        n_files = sum(len(group) for _, group in others)
        lines.append(f"left out: {n_files:,} more files, for {len(others):,} more reasons")
    return lines


def _given_file(path: Path, status: os.stat_result) -> CorpusFile:
    kind, compression = kind_of(path.name)
    if not stat.S_ISREG(status.st_mode):
        raise CorpusError(
            f"{printable(path)} is not a regular file: expected one that can be read several times; save it "
            "first"
        )
    if kind is None:
        raise CorpusError(f"cannot read {printable(path)}: expected a file that ends in {FORMATS}")
    split = _split_of((path.name,))
    return CorpusFile(path, kind, status.st_size, printable(path.name), compression, split)


def _walk(root: Path, found: FileSelection, most: int | None) -> list[_Entry]:
    """Return the regular files below a folder, each once. Linked folders come last."""
    entries: list[_Entry] = []
    folders: list[tuple[Path, tuple[str, ...], bool]] = [(root, (), False)]
    linked: list[tuple[Path, tuple[str, ...], bool]] = []
    visited: set[str] = set()
    above = {str(parent) for parent in Path(os.path.realpath(root)).parents}
    n_hidden = n_seen = 0
    while folders or linked:
        folder, parts, is_linked = folders.pop() if folders else linked.pop(0)
        real = os.path.realpath(folder)
        if real in visited:
            found.left_out.append(LeftOut(_joined(parts), "a link to a folder that is read already"))
            continue
        visited.add(real)
        if is_linked and real in above:  # such as the root of the disk
            found.left_out.append(LeftOut(_joined(parts), "a link to a folder that holds this one"))
            continue
        try:
            children = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            if not parts:
                raise CorpusError(f"{found.path} cannot be opened: {_reason(error)}") from error
            found.left_out.append(LeftOut(_joined(parts), f"cannot be opened: {_reason(error)}"))
            continue
        for child in children:
            if child.name.startswith(".") or child.name == "__MACOSX":
                n_hidden += 1
                continue
            below = (*parts, child.name)
            try:
                status = child.stat()
            except OSError as error:
                reason = "a link to nothing" if child.is_symlink() else f"cannot be opened: {_reason(error)}"
                found.left_out.append(LeftOut(_joined(below), reason))
                continue
            through_link = is_linked or child.is_symlink()
            if stat.S_ISDIR(status.st_mode):
                (linked if child.is_symlink() else folders).append((Path(child.path), below, through_link))
            elif stat.S_ISREG(status.st_mode):
                entries.append(_Entry(Path(child.path), below, status.st_size, through_link))
            else:
                found.left_out.append(LeftOut(_joined(below), "not a regular file"))
        n_seen += len(children)
        if most is not None and n_seen >= most:
            found.is_partial = True
            break
    if n_hidden:
        found.notes.append(f"{found.path}: {n_hidden:,} hidden files or folders are not looked at")
    return _once(entries, found)


def _once(entries: list[_Entry], found: FileSelection) -> list[_Entry]:
    """Drop files that a link reaches a second time; return the others in name order."""
    known = {os.path.realpath(e.path) for e in entries if not e.is_linked} if _any_linked(entries) else set()
    kept = []
    for entry in sorted(entries, key=lambda e: e.parts):
        if entry.is_linked:
            real = os.path.realpath(entry.path)
            if real in known:
                found.left_out.append(LeftOut(_joined(entry.parts), "a link to a file that is read already"))
                continue
            known.add(real)
        kept.append(entry)
    return kept


def _any_linked(entries: list[_Entry]) -> bool:
    return any(entry.is_linked for entry in entries)


def _files(entries: list[_Entry], found: FileSelection, options: CorpusOptions) -> list[CorpusFile]:
    """Return the files that hold text; name the others."""
    listed = {} if found.is_partial else _saved_data_sets(entries)
    divided = {entry.parts[:-1] for entry in entries if entry.parts[-1] == "dataset_dict.json"}
    has_tables = any(kind_of(e.parts[-1])[0] not in (None, "text") and not _is_card(e) for e in entries)
    files = []
    for entry in entries:
        name = entry.parts[-1]
        kind, compression = kind_of(name)
        saved = listed.get(entry.parts[:-1])
        reason = None
        if kind is None:
            suffix = Path(name.lower()).suffix
            if suffix in _ARCHIVES or Path(Path(name.lower()).stem).suffix == ".tar":
                reason = "an archive: unpack it"
            elif compression is not None:
                reason = f"compressed, of no known kind: name it for what is in it, e.g. name.txt{suffix}"
            else:
                reason = f"ends in {printable(suffix)[:20]}" if suffix else "has no suffix"
                reason += ", which is no kind of text that is read"
        elif _is_card(entry) or (kind == "text" and _is_companion(entry, has_tables)):
            reason = "describes the data set"
        elif name.lower().endswith(".json") and _is_lone_object(entry, options.column):
            reason = f"one JSON object without {options.column!r}, which describes something"
        elif saved is not None and name not in saved:
            reason = "not among the files that state.json names"
        if reason is not None:
            found.left_out.append(LeftOut(_joined(entry.parts), reason))
            continue
        assert kind is not None
        # `datasets` saves each split of a divided data set in a folder of its name, which may be any.
        is_divided = saved is not None and entry.parts[:-2] in divided
        split = entry.parts[-2] if is_divided else _split_of(entry.parts)
        files.append(CorpusFile(entry.path, kind, entry.n_bytes, _joined(entry.parts), compression, split))
    return files


def _is_card(entry: _Entry) -> bool:
    return entry.parts[-1].lower() in _CARDS


def _is_companion(entry: _Entry, has_tables: bool) -> bool:
    """Return True for a README and the like beside tables, or a README with a data set's metadata."""
    stem = _splitext(entry.parts[-1])[0].lower()
    return (has_tables and stem in _COMPANIONS) or (stem == "readme" and _has_metadata(entry.path))


def _has_metadata(file: Path) -> bool:
    """Return True if a text file begins with the block of metadata of a data set's card."""
    try:
        with open(file, "rb") as stream:
            head = stream.read(4096)
    except OSError:
        return False
    return head.startswith((b"---\n", b"---\r\n")) and _METADATA.search(head) is not None


def _note_configurations(entries: list[_Entry], found: FileSelection) -> None:
    """Note the configurations that the card of a data set names, if there are several."""
    card = next((e for e in entries if [part.lower() for part in e.parts] == ["readme.md"]), None)
    if card is None or not _has_metadata(card.path):
        return
    with open(card.path, "rb") as stream:
        metadata = stream.read(2**20).split(b"\n---", 1)[0].decode("utf-8", "replace")
    names = sorted(set(re.findall(r"config_name:[ ]*[\"']?([\w.-]+)", metadata)))
    if len(names) > 1:
        more = f" and {len(names) - 10:,} more" if len(names) > 10 else ""
        found.notes.append(
            f"{found.path}: its card names the configurations {', '.join(names[:10])}{more}; all are read. "
            "Give the folder of one to read that alone"
        )


def _note_missing_parts(found: FileSelection) -> None:
    """Note the files that are missing between those called `NAME-00000-of-00002`."""
    parts: dict[tuple[str, str], list[str]] = {}
    for file in found.files:
        if match := _PART.fullmatch(file.name):
            parts.setdefault((match["head"], match["total"]), []).append(match["number"])
    incomplete = [
        f"of the {int(total):,} files {head}*-of-{total}, only {len(set(numbers)):,} are here"
        for (head, total), numbers in parts.items()
        if len(set(numbers)) < int(total)
    ]
    if incomplete:
        more = f", and so for {len(incomplete) - 1:,} more" if len(incomplete) > 1 else ""
        found.notes.append(f"{found.path}: {incomplete[0]}{more}")


def _note_copies(found: FileSelection) -> None:
    """Note files that are there compressed and as they are, or in two compressions."""
    names = Counter(
        file.name[: file.name.rindex(".")] if file.compression else file.name for file in found.files
    )
    if twice := [name for name, n in names.items() if n > 1]:
        found.notes.append(
            f"{found.path}: {len(twice):,} files are there plain and compressed, and are read each time, "
            f"such as {twice[0]}"
        )


def _is_lone_object(entry: _Entry, column: str) -> bool:
    """Return True if a JSON file is one object that holds no text, as a configuration or a report is."""
    if entry.n_bytes > _MOST_OBJECT:
        return False
    try:
        with open(entry.path, "rb") as stream:
            head = stream.read(4096)
            if not head.lstrip().startswith(b"{") or json.dumps(column).encode() in head:
                return False
            value = json.loads(head + stream.read())
    except (OSError, ValueError, RecursionError):
        return False  # rows, or damaged: reading the file will tell
    return isinstance(value, dict) and column not in value


def _saved_data_sets(entries: list[_Entry]) -> dict[tuple[str, ...], set[str]]:
    """Return the names of the data files of each folder that `datasets` saved (`save_to_disk`).

    Raises:
        CorpusError: a file that belongs to it is missing, or its rows were chosen by indices.
    """
    names: dict[tuple[str, ...], set[str]] = {}
    for entry in entries:
        names.setdefault(entry.parts[:-1], set()).add(entry.parts[-1])
    saved = {}
    for entry in entries:
        folder = entry.parts[:-1]
        if entry.parts[-1] != "state.json" or "dataset_info.json" not in names[folder]:
            continue
        shown = printable(entry.path)
        try:
            state = json.loads(entry.path.read_bytes())
            files = {str(item["filename"]) for item in state["_data_files"]}
            indices = state.get("_indices_data_files")
        except (OSError, ValueError, TypeError, KeyError, RecursionError, AttributeError) as error:
            raise CorpusError(f"{shown} is damaged: save the data set again (save_to_disk)") from error
        if indices:
            raise CorpusError(
                f"{shown}: the rows of this data set are chosen by a table of indices, which is not read: "
                "save it again with a version of datasets from 2021 or later (save_to_disk)"
            )
        if missing := sorted(files - names[folder]):
            raise CorpusError(
                f"{shown} names {printable(missing[0])[:80]}, which is not in its folder: copy the whole "
                "folder"
            )
        saved[folder] = files
    return saved


def _split_of(parts: Sequence[str]) -> str | None:
    """Return the split that a file's name tells, else the one that a folder above it tells."""
    stem = parts[-1].split(".")[0] if _NUMBERED.match(parts[-1]) else _without_suffixes(parts[-1])
    if match := _NUMBERED.fullmatch(stem):
        if re.match(rf"(?i)({_KEYWORD})(_|$)", match["split"]):
            return match["split"].lower()
    elif match := _NAMED.fullmatch(stem):
        return match["split"].lower()
    for folder in reversed(parts[:-1]):
        if folder.lower() in _CANONICAL:
            return folder.lower()
    return None


def _without_suffixes(name: str) -> str:
    """Return a file's name without the suffixes of its kind and compression."""
    stem, suffix = _splitext(name)
    if suffix.lower() in COMPRESSIONS:
        name = stem
        stem, suffix = _splitext(name)
    return stem if suffix.lower() in KINDS else name


def _splitext(name: str) -> tuple[str, str]:
    return os.path.splitext(name)  # noqa: PTH122 a `Path` takes ten times as long, of a hundred thousand names


def _canonical(split: str) -> str:
    """Return the usual name of a split; of `train_sft` it is `train_sft`."""
    return _CANONICAL.get(split.lower(), split.lower())


def _family(split: str) -> str:
    return _canonical(split.partition("_")[0])


def _chosen(found: FileSelection, options: CorpusOptions) -> FileSelection:
    """Keep the files of the split to read, and name the others.

    Raises:
        CorpusError: there is no such split, or it is not clear which one is meant.
    """
    counts = Counter(_canonical(file.split) for file in found.files if file.split is not None)
    listed = ", ".join(sorted(counts))
    if options.split == "all":
        return found
    if options.split is not None:
        wanted = {_canonical(options.split)}
        if not wanted & counts.keys():
            has = f"it has {listed}" if counts else "the names of its files tell no split"
            raise CorpusError(
                f"{found.path} has no split {printable(options.split)}: {has}. "
                f"Give {'one of these' if counts else '--split all'}, or leave out --split"
            )
        kept = [file for file in found.files if file.split is not None and _canonical(file.split) in wanted]
    else:
        if len(counts) < 2:
            return found
        has_unnamed = any(file.split is None for file in found.files)
        first = next((p for p in options.preferred if any(_family(s) == p for s in counts)), None)
        if first is None:
            if has_unnamed:
                found.notes.append(
                    f"{found.path}: some files are named like splits ({listed}); all are read. "
                    "--split chooses one"
                )
                return found
            raise CorpusError(
                f"{found.path} has the splits {listed}, but no {options.preferred[0]}: choose one with "
                "--split NAME, or --split all"
            )
        wanted = {split for split in counts if _family(split) == first}
        # A file whose name tells no split is read: it may be part of the text, and is named otherwise.
        kept = [file for file in found.files if file.split is None or _canonical(file.split) in wanted]
        chosen = ", ".join(sorted(wanted))
        found.notes.append(
            f"{found.path}: of the splits {listed}, {chosen} is read (--split chooses another)"
        )
    kept_paths = {file.path for file in kept}
    for file in found.files:
        if file.path not in kept_paths:
            reason = "of no split" if file.split is None else f"of the split {_canonical(file.split)}"
            found.left_out.append(LeftOut(file.name, reason))
    return replace(found, files=kept)


def _summary(found: FileSelection) -> str:
    """Return the files that were left out, for an error that says that nothing remains."""
    if not found.left_out:
        return ""
    counts = Counter(item.reason for item in found.left_out).most_common(3)
    return "; it has " + ", ".join(f"{n:,} of: {reason}" for reason, n in counts)


def _joined(parts: Sequence[str]) -> str:
    return printable("/".join(parts))


def _reason(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)
