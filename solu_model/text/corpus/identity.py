"""Tell whether a corpus is still the text that was read: names, sizes and hashes of its files.

A file of the same name, size and time of change is taken for the same; only the others are read again. So a
copy with other times is the same text, and checking a corpus that nobody touched costs nothing.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from solu_model.files import printable, sha256_of
from solu_model.text.corpus.document import (
    DEFAULT_OPTIONS,
    CorpusError,
    CorpusOptions,
    corpus_names,
)
from solu_model.text.documents import corpus_files, is_local

_MOST_NAMED = 3


class FileIdentity(BaseModel):
    """A file of a corpus."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """Last two parts of the corpus path, and the file's path within it."""
    n_bytes: int
    mtime_ns: int
    """Time of its last change, in nanoseconds since 1970."""
    sha256: str


class CorpusIdentity(BaseModel):
    """The files and the options of a corpus."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    options: str
    """Options other than the default ones, see `CorpusOptions.described`."""
    data_sets: list[str]
    """Names of data sets of a hub. Their content is not compared."""
    files: list[FileIdentity]
    """In the order of reading."""


def identify_corpus(
    paths: Sequence[str | Path], options: CorpusOptions, known: CorpusIdentity | None = None
) -> CorpusIdentity:
    """Return the identity of a corpus.

    Args:
        paths: the corpus.
        options: the part of it that is read.
        known: an earlier identity, whose hashes are taken for files that have not been touched since.

    Raises:
        CorpusError: a file cannot be read.
    """
    hashes: dict[tuple[str, int, int], str | None] = {}
    for earlier in known.files if known else ():
        key = (earlier.name, earlier.n_bytes, earlier.mtime_ns)
        # Files of two paths may have all of this in common; they are read again.
        hashes[key] = None if key in hashes else earlier.sha256
    local = [path for path in paths if is_local(path)]
    files = []
    for path, found in zip(local, corpus_files(local, options), strict=True):
        (root,) = corpus_names([path], DEFAULT_OPTIONS)
        for file in found.files:
            name = root if Path(path).is_file() else f"{root}/{file.name}"
            try:
                status = file.path.stat()
                key = (name, status.st_size, status.st_mtime_ns)
                sha256 = hashes.get(key) or sha256_of(file.path)
            except OSError as error:
                raise CorpusError(f"cannot read {file.shown}: {error.strerror}") from error
            files.append(FileIdentity(name=name, n_bytes=key[1], mtime_ns=key[2], sha256=sha256))
    names = [printable(path) for path in paths if not is_local(path)]
    return CorpusIdentity(options=options.described, data_sets=names, files=files)


def corpus_differences(then: CorpusIdentity, now: CorpusIdentity) -> str:
    """Return what differs between two identities, for a message; empty if the text is the same."""
    if then.options != now.options:
        return f"its options were {then.options or 'the default ones'}, and are {now.options or 'those'} now"
    if then.data_sets != now.data_sets:
        return f"its data sets were {_listed(then.data_sets)}, and are {_listed(now.data_sets)} now"
    before, after = ([(f.name, f.sha256) for f in one.files] for one in (then, now))
    if before != after and sorted(before) == sorted(after):
        return "its files are in another order"
    earlier, later = _contents(then.files), _contents(now.files)
    groups = {
        "changed": [n for n, content in later.items() if n in earlier and earlier[n] != content],
        "new": [n for n in later if n not in earlier],
        "missing": [n for n in earlier if n not in later],
    }
    return "; ".join(f"{verb}: {_listed(names)}" for verb, names in groups.items() if names)


def _contents(files: Sequence[FileIdentity]) -> dict[str, tuple[int, str]]:
    """Return size and hash by name; where several files have one name, the second is called `NAME (2)`."""
    contents: dict[str, tuple[int, str]] = {}
    times: Counter[str] = Counter()
    for file in files:
        times[file.name] += 1
        name = file.name if times[file.name] == 1 else f"{file.name} ({times[file.name]})"
        contents[name] = (file.n_bytes, file.sha256)
    return contents


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED:,} more" if len(names) > _MOST_NAMED else ""
    return (", ".join(names[:_MOST_NAMED]) or "none") + more
