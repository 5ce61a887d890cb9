"""Read tensors from a weights file without running code in it, and load them into a model.

Two formats are read: safetensors, and PyTorch's own (`.pth`, `.pt`, `.bin`) with `weights_only=True`, which
lets a pickle build tensors and nothing else.
"""

import re
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from pickle import UnpicklingError
from pickletools import genops
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

_PICKLED = (".pth", ".pt", ".bin")


class CheckpointError(ValueError):
    """A checkpoint cannot be loaded. The message states what was expected, the value received and the fix."""


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Return all tensors of a weights file, by name, in the dtype they were saved in.

    Args:
        file: `*.safetensors`, or a state dict saved by `torch.save` as `*.pth`, `*.pt` or `*.bin`.

    Raises:
        CheckpointError: the file is damaged, would run code when loaded (none is run), or holds something
            other than named tensors.
    """
    if file.suffix == ".safetensors":
        try:
            return load_file(file)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{file} is damaged ({error}): copy or train it again") from error
    if file.suffix not in _PICKLED:
        raise CheckpointError(f"{file} is not a weights file: expected .safetensors, {', '.join(_PICKLED)}")
    return _named_tensors(_unpickle(file), file)


def _unpickle(file: Path) -> Any:
    try:
        with warnings.catch_warnings():
            # torch warns about pickle protocols above 2, but then reads them or raises.
            warnings.simplefilter("ignore", UserWarning)
            return torch.load(file, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        calls = re.findall(r"GLOBAL ([\w.]+)", str(error)) or _imported_names(file)
        if not calls:
            reason = re.search(r"WeightsUnpickler error: (.*)", str(error))
            raise CheckpointError(
                f"{file} is damaged or not a state dict ({reason[1] if reason else 'cannot be unpickled'}): "
                "copy it again"
            ) from error
        raise CheckpointError(
            f"{file} is refused: loading it would call {', '.join(dict.fromkeys(calls))}, and a weights file "
            "needs no calls. Nothing was run. If you trust its origin, save its state dict as safetensors "
            "there and load that file"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise CheckpointError(f"{file} is damaged ({_first_line(error)}): copy it again") from error


def _imported_names(file: Path) -> list[str]:
    """List the names that a bare pickle would import, in order. Its opcodes are read and not executed."""
    strings: list[str] = []
    names = []
    with suppress(Exception), file.open("rb") as stream:
        for opcode, argument, _ in genops(stream):
            if opcode.name == "GLOBAL":
                names.append(str(argument).replace(" ", "."))
            elif opcode.name == "STACK_GLOBAL":
                names.append(".".join(strings[-2:]))
            elif isinstance(argument, str):
                strings.append(argument)
    return names


def _named_tensors(loaded: Any, file: Path) -> dict[str, Tensor]:
    if not isinstance(loaded, Mapping):
        raise CheckpointError(
            f"{file} holds a {type(loaded).__name__}: expected a state dict, tensors by name"
        )
    others = [f"{k!r} ({type(v).__name__})" for k, v in loaded.items() if not isinstance(v, Tensor)]
    if others:
        raise CheckpointError(
            f"{file} holds more than tensors: {', '.join(others)}: expected a state dict, tensors by name"
        )
    return {str(name): tensor for name, tensor in loaded.items()}


def fit(model: nn.Module, tensors: Mapping[str, Tensor], source: str | Path, hint: str = "") -> None:
    """Load `tensors` into `model`, in the model's dtype, if they are exactly its parameters.

    Args:
        model: the model to fill.
        tensors: tensors by the model's own parameter names.
        source: origin of the tensors, for the message.
        hint: a probable cause, appended to the message.

    Raises:
        CheckpointError: names every missing, unexpected, misshapen and non-floating tensor at once. The model
            is unchanged then.
    """
    expected = model.state_dict()
    mismatches = [f"missing {name}" for name in expected if name not in tensors]
    mismatches += [
        f"unexpected {name} {list(tensors[name].shape)}" for name in tensors if name not in expected
    ]
    for name, parameter in expected.items():
        if name not in tensors:
            continue
        if tensors[name].shape != parameter.shape:
            mismatches.append(
                f"{name} is {list(tensors[name].shape)} where config.json implies {list(parameter.shape)}"
            )
        elif not tensors[name].is_floating_point():
            mismatches.append(f"{name} is {tensors[name].dtype}, not floating point")
    if mismatches:
        raise CheckpointError(
            f"{source} does not fit its config.json: {'; '.join(mismatches)}" + (f". {hint}" if hint else "")
        )
    model.load_state_dict({name: tensors[name].to(expected[name].dtype) for name in expected})


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n", 1)[0] or type(error).__name__
