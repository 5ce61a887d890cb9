"""`checksums.sha256`: the SHA-256 of every file of a folder, in the format of `sha256sum -c`."""

from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from cache.format.schema import CHECKSUMS, CacheError
from solu_model.files import sha256_of, written_aside


def write_checksums(folder: Path) -> None:
    """Write `checksums.sha256`, one line for each file, in name order."""
    listing = _listing({name: sha256_of(folder / name) for name in _files(folder)})
    (folder / CHECKSUMS).write_bytes(listing)


def renew_checksum(folder: Path, name: str) -> None:
    """Replace or add the line of one file. Other files are not read, so damage to them stays visible."""
    lines = (folder / CHECKSUMS).read_text(encoding="utf-8").splitlines()
    digests = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    with written_aside(folder / CHECKSUMS) as aside:
        aside.write_bytes(_listing(digests | {name: sha256_of(folder / name)}))


def damaged_files(folder: Path, *, progress: bool = False) -> Iterator[str]:
    """Yield one sentence for each file of a folder that is damaged, missing or not listed.

    Raises:
        CacheError: `checksums.sha256` cannot be read.
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
    names, actual = _files(folder), {}
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
                actual[name] = sha256_of(folder / name)
            except OSError as error:
                actual[name] = f"cannot be read: {error}"
            if name not in expected:
                yield f"{name} is not listed in {CHECKSUMS}"
            elif actual[name] != expected[name]:
                yield f"{name} has changed since it was written"
            bar.update((folder / name).stat().st_size)
    missing = sorted(expected.keys() - actual.keys())
    for name in missing:
        yield f"{name} is missing"
    # A byte of the listing may change without changing a name or digest, such as the end of a line.
    if not damaged and actual == expected and listing != _listing(actual):
        yield f"{CHECKSUMS} has changed since it was written: copy it again"


def _listing(digests: dict[str, str]) -> bytes:
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items())).encode()


def _files(folder: Path) -> list[str]:
    return sorted(
        p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() and p.name != CHECKSUMS
    )
