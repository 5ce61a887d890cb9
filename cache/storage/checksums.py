"""SHA-256 of every file of a folder, as `sha256sum -c` reads them."""

from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from cache.format.schema import CHECKSUMS, CacheError
from solu_model.files import sha256_of, written_aside


def write_checksums(folder: Path) -> None:
    """Write `checksums.sha256`: a line a file, in name order."""
    listing = _listing({name: sha256_of(folder / name) for name in _files(folder)})
    (folder / CHECKSUMS).write_bytes(listing)


def renew_checksum(folder: Path, name: str) -> None:
    """Put one file's line in place, without a look at the others: what they should be stays said."""
    lines = (folder / CHECKSUMS).read_text(encoding="utf-8").splitlines()
    digests = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    with written_aside(folder / CHECKSUMS) as aside:
        aside.write_bytes(_listing(digests | {name: sha256_of(folder / name)}))


def damaged_files(folder: Path, *, progress: bool = False) -> Iterator[str]:
    """What is wrong with the files of a folder, a sentence each.

    Raises:
        CacheError: there are no checksums to compare with.
    """
    try:
        listing = (folder / CHECKSUMS).read_bytes()
    except OSError as error:
        raise CacheError(f"{folder / CHECKSUMS} cannot be read ({error}): copy the cache again") from error
    expected: dict[str, str] = {}
    damaged = False
    for number, line in enumerate(listing.decode("utf-8", "replace").split("\n")[:-1], start=1):
        digest, _, name = line.partition("  ")
        if len(digest) != 64 or not name or name in expected:
            yield f"{CHECKSUMS} is damaged at line {number}"
            damaged = True
        else:
            expected[name] = digest
    names, found = _files(folder), {}
    size = sum((folder / name).stat().st_size for name in names)
    with tqdm(
        desc="checksums",
        total=size,
        unit="B",
        unit_scale=True,
        disable=None if progress else True,
        leave=False,
    ) as bar:
        for name in names:
            try:
                found[name] = sha256_of(folder / name)
            except OSError as error:
                found[name] = f"cannot be read: {error}"
            if name not in expected:
                yield f"{name} is in no line of {CHECKSUMS}"
            elif found[name] != expected[name]:
                yield f"{name} is not what was written"
            bar.update((folder / name).stat().st_size)
    missing = sorted(expected.keys() - found.keys())
    for name in missing:
        yield f"{name} is missing"
    # A byte of the listing may change without changing what its lines say.
    if not damaged and found == expected and listing != _listing(found):
        yield f"{CHECKSUMS} is not as it was written: copy it again"


def _listing(digests: dict[str, str]) -> bytes:
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items())).encode()


def _files(folder: Path) -> list[str]:
    return sorted(
        p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() and p.name != CHECKSUMS
    )
