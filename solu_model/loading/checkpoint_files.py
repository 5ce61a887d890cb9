"""The files of a checkpoint: its configuration and the files that hold its weights. Needs no torch.

`weight_files_of` alone decides which files are a checkpoint's weights: what loads a model, what names it by a
hash and what shows it read the same ones.
"""

import hashlib
import json
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from solu_model.files import sha256_of

_log = logging.getLogger(__name__)

CONFIG = "config.json"
PICKLED = (".pth", ".pt", ".bin")
"""Suffixes of PyTorch's own format."""
_SINGLE_FILES = ("model.safetensors", "pytorch_model.bin")
_INDEX = ".index.json"
_MAX_JSON = 64_000_000
"""Bytes. The index of a model of a thousand files has 10 million."""
_MAX_MESSAGE = 400
"""Characters of a foreign message that are quoted."""
_MAX_LABELS = 100_000
"""transformers makes a name for every label of a classifier."""
_LFS_POINTER = b"version https://git-lfs"
NOT_FETCHED = "is a pointer of Git LFS, not the weights: fetch them with git lfs pull"
_CHECKPOINT = re.compile(r"_(\d+)\.pth$")


class CheckpointError(ValueError):
    """A checkpoint cannot be loaded. The message states what was expected, the value received and the fix."""


def shortened(message: object, length: int = _MAX_MESSAGE) -> str:
    """Return a message in one line of at most `length` characters."""
    text = " ".join(str(message).split())
    return text if len(text) <= length else f"{text[: length - 1]}…"


def listed(names: Sequence[str], most: int = 10) -> str:
    """Join names to a list, which after the first `most` says how many more there are."""
    more = len(names) - most
    return "; ".join([shortened(n) for n in names[:most]] + ([f"and {more:,} more"] if more > 0 else []))


def read_object(file: Path) -> dict[str, Any]:
    """Return the object of a JSON file that came with a checkpoint.

    Raises:
        CheckpointError: the file is missing, may not be read, is larger than any such file, or holds
            something other than a JSON object.
    """
    if not file.is_file():
        raise CheckpointError(f"{file.parent} has no {file.name}: copy the whole checkpoint folder")
    try:
        with open(file, "rb") as stream:
            data = stream.read(_MAX_JSON + 1)
        if len(data) > _MAX_JSON:
            raise CheckpointError(
                f"{file} has more than {_MAX_JSON:,} bytes, which no such file has: copy it again"
            )
        value = json.loads(data.decode("utf-8-sig"))
    except OSError as error:
        raise unreadable(file, error) from error
    except CheckpointError:
        raise
    # Brackets nested by the ten thousand are a RecursionError.
    except (ValueError, RecursionError, MemoryError) as error:
        raise CheckpointError(f"{file} is not JSON ({shortened(error, 200)}): copy it again") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{file} holds a {type(value).__name__}: expected a JSON object. Copy it again")
    return value


def unreadable(file: Path, error: OSError) -> CheckpointError:
    """Return the error for a file that the system does not let this account read."""
    if isinstance(error, PermissionError):
        try:
            mode = f" (its mode is {file.stat().st_mode & 0o777:o})"
        except OSError:
            mode = ""
        return CheckpointError(
            f"{file} may not be read by this account{mode}: let its owner change the mode, as by chmod a+r"
        )
    return CheckpointError(f"{file} cannot be read ({shortened(error.strerror or error, 200)})")


def check_fields(fields: Mapping[str, Any], source: str | Path) -> None:
    """Check the fields of a config.json that transformers acts on before it looks at the model.

    Raises:
        CheckpointError: the weights are quantized, or there are names for more labels than any model has.
    """
    if fields.get("quantization_config"):
        raise CheckpointError(
            f"{source} says that the weights are quantized, so activations would not be the model's own: "
            "give the checkpoint that they were made from"
        )
    labels = fields.get("num_labels")
    if isinstance(labels, int | float) and labels > _MAX_LABELS:
        raise CheckpointError(
            f"{source} describes no valid model: num_labels must be at most {_MAX_LABELS:,}, got "
            f"{shortened(labels, 60)}"
        )


def is_lfs_pointer(start: bytes) -> bool:
    """Return True if a file that begins so stands for one that Git LFS has not fetched."""
    return start.startswith(_LFS_POINTER[: max(len(start), 8)])


def is_transformerlens(fields: Mapping[str, Any]) -> bool:
    """Return True if the fields of a config.json are of TransformerLens's format."""
    return "model_type" not in fields and "act_fn" in fields and "d_model" in fields


def folder_of(path: Path) -> Path:
    """Return the folder of a checkpoint that is given by its folder or by a weights file in it."""
    if path.is_dir():
        return path
    folder = path.parent
    if not (folder / CONFIG).is_file() and (folder.parent / CONFIG).is_file():
        return folder.parent  # a training checkpoint in checkpoints/
    return folder


def weight_files_of(
    path: Path, tokens: int | None = None, fields: Mapping[str, Any] | None = None
) -> list[Path]:
    """Return the files that hold a checkpoint's weights, in name order.

    They are, in TransformerLens's format, the first `*final.pth` by name, or else the only `.pth` or
    `.safetensors` file. In every other folder they are `model.safetensors`, or the files that
    `model.safetensors.index.json` lists, or else `pytorch_model.bin`, or the files that its index lists.

    Args:
        path: a checkpoint's folder, or a weights file, which is then the only one.
        tokens: the training checkpoint after this many tokens (TransformerLens's format): the file
            `checkpoints/*_{tokens}.pth`; 0 also stands for `*init.pth`.
        fields: the parsed config.json, if it has been read.

    Raises:
        CheckpointError: there is no such file, a file that the index lists is missing, or the folder holds
            the weights of two models. The message names the files.
    """
    if path.is_file():
        return [path]
    if fields is None:
        fields = read_object(path / CONFIG) if (path / CONFIG).is_file() else {}
    if tokens is not None:
        return [_training_checkpoint(path, fields, tokens)]
    if is_transformerlens(fields):
        return [_transformerlens_file(path)]
    for single in _SINGLE_FILES:
        file, index = path / single, path / f"{single}{_INDEX}"
        shards = _shards(index) if index.is_file() else []
        if shards and file.is_file() and shards != [file]:
            raise CheckpointError(
                f"{path} holds {single} and also {index.name}, which lists {len(shards)} other files: "
                "they may be two models. Remove the one that is not meant"
            )
        if shards or file.is_file():
            return shards or [file]
    other = sorted(p.name for p in path.iterdir() if p.suffix in (".safetensors", *PICKLED) and p.is_file())
    has = f", only {listed(other, 4)}: give the path of the file, or copy" if other else ": copy"
    raise CheckpointError(f"{path} has no {_SINGLE_FILES[0]}{has} the whole checkpoint folder")


def weights_hash(path: Path) -> str:
    """Return the SHA-256 that identifies a checkpoint's weights, as hex digits; see `hash_of_weights`.

    Raises:
        CheckpointError: as in `weight_files_of`, or a file may not be read.
    """
    return hash_of_weights(weight_files_of(path))


def hash_of_weights(files: Sequence[Path]) -> str:
    """Return the SHA-256 of the files that hold a checkpoint's weights, as hex digits.

    It is the hash of `model.safetensors` if that is the only file, otherwise the hash of a list of the names
    and hashes of the files, in name order.

    Raises:
        CheckpointError: a file may not be read.
    """
    hashes = {}
    for file in files:
        try:
            hashes[file.name] = sha256_of(file)
        except OSError as error:
            raise unreadable(file, error) from error
    if [file.name for file in files] == [_SINGLE_FILES[0]]:
        return hashes[_SINGLE_FILES[0]]
    listing = "".join(f"{digest}  {name}\n" for name, digest in hashes.items())
    return hashlib.sha256(listing.encode()).hexdigest()


def damage_of(file: Path) -> str:
    """Describe the damage of a weights file, as far as its header and length show it; empty if it is sound.

    Of a file in PyTorch's own format only the first bytes are read: the rest shows when it is loaded.
    """
    again = "copy or train it again"
    try:
        size = file.stat().st_size
        with open(file, "rb") as stream:
            start = stream.read(8)
            if is_lfs_pointer(start):
                return f"{file.name} {NOT_FETCHED}"
            if file.suffix != ".safetensors":
                is_pickle = start.startswith((b"PK\x03\x04", b"\x80"))
                return "" if is_pickle else f"{file.name} is damaged (it is no state dict): {again}"
            length = int.from_bytes(start, "little")
            header = json.loads(stream.read(length)) if 0 < length <= min(size, 100_000_000) else None
        if not isinstance(header, dict):
            return f"{file.name} is damaged (no header): {again}"
        ends = [t["data_offsets"][1] for name, t in header.items() if name != "__metadata__"]
        expected = 8 + length + max(ends, default=0)
    except FileNotFoundError:
        return f"{file.name} is missing: copy the whole checkpoint folder again"
    except OSError as error:
        return str(unreadable(file, error))
    except (ValueError, TypeError, KeyError, IndexError, RecursionError, MemoryError) as error:
        return f"{file.name} is damaged ({shortened(error, 200)}): {again}"
    if size != expected:
        found = f"expected {expected:,} bytes, found {size:,}"
        return f"{file.name} is damaged: {found}. Copy or train it again"
    return ""


def _shards(index: Path) -> list[Path]:
    """Return the files that an index lists, in name order."""
    names = read_object(index).get("weight_map")
    if not isinstance(names, dict) or not names or not all(isinstance(n, str) for n in names.values()):
        raise CheckpointError(f"{index} has no weight_map from tensors to files: copy it again")
    shards = sorted(set(names.values()))
    # An index is data of somebody else: it must not lead out of its folder.
    if outside := [n for n in shards if Path(n).name != n or n in ("", ".", "..") or "\0" in n]:
        raise CheckpointError(
            f"{index} lists files that are not names in its folder: {listed(outside, 3)}. Copy it again"
        )
    if missing := [n for n in shards if not (index.parent / n).is_file()]:
        raise CheckpointError(
            f"{index.parent} lacks {len(missing)} of the {len(shards)} files that {index.name} lists: "
            f"{listed(missing, 4)}. Copy the whole checkpoint folder"
        )
    return [index.parent / n for n in shards]


def _training_checkpoint(folder: Path, fields: Mapping[str, Any], tokens: int) -> Path:
    if not is_transformerlens(fields):
        raise CheckpointError(
            f"{folder} is not in TransformerLens's format, so it has no checkpoints/*_{{tokens}}.pth: "
            "give the folder of the training checkpoint itself"
        )
    labelled = {
        int(match[1]): file
        for file in sorted((folder / "checkpoints").glob("*.pth"))
        if (match := _CHECKPOINT.search(file.name))
    }
    if tokens == 0 and (initial := sorted(folder.glob("*init.pth"))):
        labelled.setdefault(0, initial[0])
    if tokens not in labelled:
        have = listed([str(label) for label in sorted(labelled)], 50).replace(";", ",") or "none"
        raise CheckpointError(
            f"{folder} has no training checkpoint at {tokens} tokens (checkpoints/*_{{tokens}}.pth); "
            f"it has: {have}"
        )
    return labelled[tokens]


def _transformerlens_file(folder: Path) -> Path:
    final = sorted(folder.glob("*final.pth"))
    if len(final) > 1:
        _log.warning("%s: reading %s, not %s", folder, final[0].name, listed([f.name for f in final[1:]]))
    others = [] if final else sorted([*folder.glob("*.pth"), *folder.glob("*.safetensors")])
    if not final and len(others) != 1:
        candidates = listed([f.name for f in others]).replace(";", ",") or "no .pth and no .safetensors"
        raise CheckpointError(
            f"{folder} has no weights file whose name ends in final.pth, and {candidates}: "
            "copy the whole folder, or give the path of one file in it"
        )
    return (final or others)[0]
