"""Read the tensors of weights files without running code in them, and put them into a model.

Two formats are read: safetensors, and PyTorch's own (`.pth`, `.pt`, `.bin`) with `weights_only=True`, which
lets a pickle build tensors and nothing else.

A model is built on torch's meta device, where its tensors have a shape and no memory. The names and shapes in
the files are compared with it, and only if they are equal is anything allocated or read. Then the tensors
become the model's parameters as they are, so a model is never in memory twice.
"""

import re
import warnings
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from pickletools import genops
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from solu_model.config import SoluConfig
from solu_model.loading.checkpoint_files import (
    NOT_FETCHED,
    PICKLED,
    CheckpointError,
    is_lfs_pointer,
    listed,
    shortened,
    unreadable,
)
from solu_model.model import SoluForCausalLM

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""dtype by its name in safetensors."""
_PREFIXES = {
    "_orig_mod.": "as torch.compile names them",
    "module.": "as DistributedDataParallel names them",
    "_fsdp_wrapped_module.": "as FSDP names them",
}


@dataclass(frozen=True)
class _Stretch:
    """The bytes of a tensor in a safetensors file.

    They are read straight into the tensor's memory, which takes as long as reading the file; `safe_open` took
    1.3 times as long. Mapped pages would change or be lost if the file is written over.
    """

    file: Path
    start: int

    def read(self, header: Tensor) -> Tensor:
        """Return the tensor, which has the shape and dtype of `header`."""
        data = torch.empty(header.numel() * header.element_size(), dtype=torch.uint8)
        rest = data.numpy().data
        with open(self.file, "rb", buffering=0) as stream:
            stream.seek(self.start)
            while len(rest):  # the system reads 2 GB at most at once
                n_read = stream.readinto(rest)
                if not n_read:
                    raise OSError("it ends before its tensors do")
                rest = rest[n_read:]
        return data.view(header.dtype).view(header.shape)


class WeightFiles:
    """The tensors of one checkpoint: their names and shapes at once, their contents on request.

    Args:
        files: `*.safetensors`, or state dicts saved by `torch.save` as `*.pth`, `*.pt` or `*.bin`.

    Attributes:
        headers: a tensor on the meta device for each tensor of the files, by name.

    Raises:
        CheckpointError: a file is damaged, may not be read, would run code when loaded (none is run), holds
            something other than named tensors, or a tensor that another file holds too.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = tuple(files)
        self.headers: dict[str, Tensor] = {}
        self._sources: dict[str, Any] = {}
        for file in self.files:
            for name, header, source in _open(file):
                if name in self.headers:
                    raise CheckpointError(
                        f"{file} holds {shortened(name, 100)}, which another file of the checkpoint holds "
                        "too: copy the whole checkpoint folder"
                    )
                self.headers[name], self._sources[name] = header, source

    @property
    def name(self) -> str:
        """The file, or the folder of several files, for messages."""
        return str(self.files[0] if len(self.files) == 1 else self.files[0].parent)

    def read(
        self,
        names: Iterable[str] | None = None,
        *,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
    ) -> dict[str, Tensor]:
        """Return tensors by name, read into memory of their own.

        A tensor is read and converted before the next one. None stays mapped to its file, which somebody may
        write over while the model is in use.

        Args:
            names: the tensors to read; None: all.
            dtype: dtype of those with floating-point numbers; others keep theirs.
            device: device of all of them.

        Raises:
            CheckpointError: a file is damaged or was changed meanwhile.
        """
        read = {}
        for name in self.headers if names is None else names:
            source = self._sources[name]
            wanted = dtype if self.headers[name].is_floating_point() else self.headers[name].dtype
            try:
                if isinstance(source, Tensor):  # it may be mapped
                    read[name] = source.to(device, wanted, copy=True).contiguous()
                else:
                    read[name] = source.read(self.headers[name]).to(device, wanted)
            except (OSError, RuntimeError) as error:
                raise _damaged(self.name, error) from error
        return read


def empty_model(config: SoluConfig) -> SoluForCausalLM:
    """Return a model in evaluation mode whose parameters are on the meta device."""
    with torch.device("meta"):
        model = SoluForCausalLM(config)
    model.eval()
    return model


def check_depth(n_layers: int, weights: WeightFiles) -> None:
    """Check that a file may hold a model of so many layers, before its modules are built.

    Raises:
        CheckpointError: it holds fewer tensors than layers.
    """
    if n_layers > len(weights.headers):
        raise CheckpointError(
            f"{weights.name} does not fit its config.json: a model of {n_layers:,} layers has more than the "
            f"{len(weights.headers):,} tensors that the file holds. Copy the whole checkpoint folder again"
        )


def check_fit(
    expected: Mapping[str, Tensor], found: Mapping[str, Tensor], source: str | Path, hint: str = ""
) -> None:
    """Check that tensors are exactly those of a model.

    Args:
        expected: the model's state dict; on the meta device is enough, for both.
        found: tensors by the model's own names.
        source: origin of the tensors, for the message.
        hint: a probable cause, appended to the message.

    Raises:
        CheckpointError: names the missing, unexpected, misshapen and non-floating tensors, at most ten.
    """
    mismatches = [f"missing {name}" for name in expected if name not in found]
    mismatches += [f"unexpected {name} {list(found[name].shape)}" for name in found if name not in expected]
    for name, parameter in expected.items():
        if name not in found:
            continue
        if found[name].shape != parameter.shape:
            mismatches.append(misshapen(name, found[name].shape, parameter.shape))
        elif parameter.is_floating_point() and not found[name].is_floating_point():
            mismatches.append(f"{name} is {found[name].dtype}, not floating point")
    refuse_mismatches(mismatches, source, hint or prefix_hint(found))


def refuse_mismatches(mismatches: Sequence[str], source: str | Path, hint: str) -> None:
    """Raise a `CheckpointError` that names mismatches of weights and configuration, if there are any."""
    if mismatches:
        raise CheckpointError(
            f"{source} does not fit its config.json: {listed(mismatches)}" + (f". {hint}" if hint else "")
        )


def misshapen(name: str, found: Sequence[int], expected: Sequence[int]) -> str:
    """Describe a tensor of another shape than the configuration implies."""
    return f"{name} is {list(found)} where config.json implies {list(expected)}"


def prefix_hint(names: Iterable[str]) -> str:
    """Return a hint if all names begin with what a wrapper of the model added; empty otherwise."""
    names = list(names)
    for prefix, reason in _PREFIXES.items():
        if names and all(name.startswith(prefix) for name in names):
            return f"All names begin with {prefix} {reason}: save the state dict of the model inside"
    return ""


def assign(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Make `tensors` the parameters of a model from the meta device; see `check_fit`.

    Raises:
        RuntimeError: the model has a buffer that is not saved, which would stay on the meta device.
    """
    model.load_state_dict(tensors, assign=True)
    if without := [name for name, b in model.named_buffers() if b.is_meta]:
        raise RuntimeError(f"no file has the buffers {', '.join(without)}: they need a value at loading")


def _open(file: Path) -> list[tuple[str, Tensor, Any]]:
    """Return name, header and source of each tensor of a file."""
    if file.suffix not in (".safetensors", *PICKLED):
        raise CheckpointError(f"{file} is not a weights file: expected .safetensors, {', '.join(PICKLED)}")
    try:
        with open(file, "rb") as stream:  # the readers below give errors of a missing right other names
            if is_lfs_pointer(stream.read(32)):
                raise CheckpointError(f"{file} {NOT_FETCHED}")
    except OSError as error:
        raise unreadable(file, error) from error
    if file.suffix != ".safetensors":
        tensors = _named_tensors(_unpickle(file), file)
        return [(n, torch.empty(t.shape, dtype=t.dtype, device="meta"), t) for n, t in tensors.items()]
    try:
        found = []
        with safe_open(file, framework="pt") as opened, file.open("rb") as stream:
            start = 8 + int.from_bytes(stream.read(8), "little")
            for name in opened.offset_keys():  # one after the other in the file, without gaps
                part = opened.get_slice(name)
                dtype = _DTYPES.get(part.get_dtype())
                if dtype is None:
                    raise CheckpointError(
                        f"{file} holds {shortened(name, 100)} as {part.get_dtype()}: expected numbers of "
                        f"{', '.join(_DTYPES)}"
                    )
                header = torch.empty(part.get_shape(), dtype=dtype, device="meta")
                found.append((name, header, _Stretch(file, start)))
                start += header.numel() * header.element_size()
    except (SafetensorError, OSError, RuntimeError) as error:
        raise _damaged(file, error) from error
    return found


def _damaged(file: str | Path, error: BaseException) -> CheckpointError:
    return CheckpointError(f"{file} is damaged ({_first_line(error)}): copy or train it again")


def _unpickle(file: Path) -> Any:
    try:
        with warnings.catch_warnings():
            # torch warns about pickle protocols above 2, but then reads them or raises.
            warnings.simplefilter("ignore", UserWarning)
            mapped = zipfile.is_zipfile(file)  # torch's older format cannot be
            return torch.load(file, map_location="cpu", weights_only=True, mmap=mapped)
    except UnpicklingError as error:
        calls = re.findall(r"GLOBAL ([\w.]+)", str(error)) or _imported_names(file)
        if not calls:
            reason = re.search(r"WeightsUnpickler error: (.*)", str(error))
            raise CheckpointError(
                f"{file} is damaged or not a state dict "
                f"({shortened(reason[1]) if reason else 'cannot be unpickled'}): copy it again"
            ) from error
        raise CheckpointError(
            f"{file} is refused: loading it would call {listed(list(dict.fromkeys(calls)), 5)}, and a "
            "weights file needs no calls. Nothing was run. If you trust its origin, save its state dict as "
            "safetensors there and load that file"
        ) from error
    except (
        RuntimeError,  # RecursionError is one
        EOFError,
        OSError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        AssertionError,
        MemoryError,
        zipfile.BadZipFile,
    ) as error:
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
            f"{file} holds more than tensors: {listed(others).replace(';', ',')}: expected a state dict, "
            "tensors by name"
        )
    for name, tensor in loaded.items():
        # A view may repeat a single number without end.
        if (
            tensor.layout != torch.strided
            or tensor.is_quantized
            or tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes()
        ):
            raise CheckpointError(
                f"{file} holds {shortened(name, 100)} as something other than an array of numbers (sparse, "
                "quantized, or a repeating view): save it as an ordinary tensor"
            )
    return {str(name): tensor for name, tensor in loaded.items()}


def _first_line(error: BaseException) -> str:
    return shortened(str(error).strip().split("\n", 1)[0] or type(error).__name__, 200)
