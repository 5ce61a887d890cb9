"""Texts that addresses name: kept on the server under a short identifier, which follows from the text."""

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from dashboard.shared.address import AddressError
from dashboard.shared.settings import data_folder
from solu_model.files import written_aside

MOST_TEXTS = 2000
"""Texts that are kept; the ones not asked for the longest time go first."""
MOST_BYTES = 100_000_000
"""Of all of them together."""

_NAME = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True)
class KeptText:
    """A text, and the original that it is an edit of."""

    text: str
    original: str | None = None


def keep_text(kept: KeptText) -> str:
    """Keep a text; the identifier that an address names it by.

    Raises:
        OSError: the folder cannot be written.
    """
    folder = _folder()
    data = json.dumps(asdict(kept)).encode()
    name = _name(data)
    folder.mkdir(parents=True, exist_ok=True)
    with written_aside(folder / f"{name}.json") as aside:
        aside.write_bytes(data)
    _drop_oldest(folder)
    return name


def kept_text(name: str) -> KeptText:
    """The text of an identifier.

    Raises:
        AddressError: it is no identifier, or its text is not kept here, or was damaged.
    """
    if not _NAME.fullmatch(name):
        raise AddressError(
            f"the address says text = {name[:80]!r}: expected the 16 digits and letters of a kept text"
        )
    file = _folder() / f"{name}.json"
    try:
        data = file.read_bytes()
        if _name(data) != name:
            raise ValueError("it says something else than what was kept")
        kept = KeptText(**json.loads(data))
        file.touch()
    except FileNotFoundError as error:
        raise AddressError(
            f"no text is kept here as {name}: the address is of another server, or so old that its text made "
            "room for newer ones"
        ) from error
    except (OSError, ValueError, TypeError) as error:
        raise AddressError(f"the text kept as {name} cannot be read ({error})") from error
    return kept


def _folder() -> Path:
    return data_folder() / "texts"


def _name(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _drop_oldest(folder: Path) -> None:
    newest_first = sorted(
        ((f.stat().st_mtime_ns, f.stat().st_size, f) for f in folder.glob("*.json")), reverse=True
    )
    total = 0
    for rank, (_, size, file) in enumerate(newest_first):
        total += size
        if rank >= MOST_TEXTS or total > MOST_BYTES:
            file.unlink(missing_ok=True)
