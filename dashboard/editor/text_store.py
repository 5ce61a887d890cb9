"""Texts that addresses name: stored on the server as `texts/NAME.json`, NAME the hash of the content."""

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from dashboard.shared.address import AddressError
from dashboard.shared.settings import data_folder
from solu_model.files import written_aside

MAX_TEXTS = 2000
"""Texts that are stored. Those not opened for the longest time are deleted first."""
MAX_BYTES = 100_000_000
"""Size of all texts together."""

_NAME = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True)
class StoredText:
    """A text, and the original that it is an edit of."""

    text: str
    original: str | None = None


def store_text(text: StoredText) -> str:
    """Store a text and return the name for its address.

    Raises:
        OSError: the folder cannot be written.
    """
    folder = _folder()
    data = json.dumps(asdict(text)).encode()
    name = _name_of(data)
    folder.mkdir(parents=True, exist_ok=True)
    with written_aside(folder / f"{name}.json") as aside:
        aside.write_bytes(data)
    _delete_oldest(folder)
    return name


def load_text(name: str) -> StoredText:
    """Read a stored text.

    Raises:
        AddressError: the name has another form, or its text is not stored here, or the file is damaged.
    """
    if not _NAME.fullmatch(name):
        raise AddressError(
            f"the address says text = {name[:80]!r}: expected the name of a stored text, 16 digits and "
            "letters from a to f. Open the editor without it"
        )
    file = _folder() / f"{name}.json"
    try:
        data = file.read_bytes()
        if _name_of(data) != name:
            raise ValueError("its content does not match its name")
        text = StoredText(**json.loads(data))
        file.touch()  # the time of change is the time of last use, see `_delete_oldest`
    except FileNotFoundError as error:
        raise AddressError(
            f"no text {name} is stored here: the address comes from another server, or the text was deleted "
            f"as one of the oldest (at most {MAX_TEXTS:,} are stored). Open the editor without it"
        ) from error
    except (OSError, ValueError, TypeError) as error:
        raise AddressError(
            f"the stored text {name} cannot be read ({error}): its file is damaged. Open the editor "
            "without it"
        ) from error
    return text


def _folder() -> Path:
    return data_folder() / "texts"


def _name_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _delete_oldest(folder: Path) -> None:
    newest_first = sorted(
        ((f.stat().st_mtime_ns, f.stat().st_size, f) for f in folder.glob("*.json")), reverse=True
    )
    total = 0
    for rank, (_, size, file) in enumerate(newest_first):
        total += size
        if rank >= MAX_TEXTS or total > MAX_BYTES:
            file.unlink(missing_ok=True)
