"""SHA-256 of every file of a folder, as `sha256sum -c` reads them."""

from collections.abc import Iterator
from pathlib import Path

from cache.schema import CHECKSUMS, CacheError
from solu_model.files import sha256_of


def write_checksums(folder: Path) -> None:
    """Write `checksums.sha256`: a line a file, in name order."""
    lines = [f"{sha256_of(folder / name)}  {name}\n" for name in _files(folder)]
    (folder / CHECKSUMS).write_text("".join(lines), encoding="utf-8")


def damaged_files(folder: Path) -> Iterator[str]:
    """What is wrong with the files of a folder, a sentence each.

    Raises:
        CacheError: there are no checksums to compare with.
    """
    try:
        text = (folder / CHECKSUMS).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CacheError(f"{folder / CHECKSUMS} cannot be read ({error}): copy the cache again") from error
    expected: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        digest, _, name = line.partition("  ")
        if len(digest) != 64 or not name or name in expected:
            yield f"{CHECKSUMS} is damaged at line {number}"
            continue
        expected[name] = digest
    present = list(_files(folder))
    for name in present:
        if name not in expected:
            yield f"{name} is in no line of {CHECKSUMS}"
        elif sha256_of(folder / name) != expected[name]:
            yield f"{name} is not what was written"
    for name in sorted(expected.keys() - set(present)):
        yield f"{name} is missing"


def _files(folder: Path) -> list[str]:
    return sorted(
        p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() and p.name != CHECKSUMS
    )
