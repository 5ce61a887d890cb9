"""Devices and number formats that a person names: checked before a model is loaded."""

import torch

from solu_model.loading.checkpoint_files import CheckpointError, listed, shortened

AUTOMATIC = "auto"
"""Name for all devices of the machine, between which accelerate divides a model's layers."""
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""Formats that a model can be loaded in, by name."""


def checked_device(name: str | torch.device) -> torch.device:
    """Return the device of a name such as `cpu`, `cuda` or `cuda:1`.

    Raises:
        CheckpointError: there is no such device in this machine, or it holds no numbers (`meta`).
    """
    n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    have = ["cpu", *(f"cuda:{i}" for i in range(n_gpus))]
    shown = f"device {shortened(repr(str(name)), 60)}"
    expected = f"this machine has {listed(have).replace(';', ',')}"
    try:
        device = torch.device(name)
        if device.type == "meta":
            raise CheckpointError(f"{shown} holds shapes and no numbers: {expected}")
        if device.type == "cuda" and (device.index or 0) >= n_gpus:
            raise CheckpointError(f"there is no {shown}: {expected}")
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        raise CheckpointError(f"there is no {shown}: {expected}") from error
    return torch.device("cpu") if device.type == "cpu" else device


def checked_dtype(name: str | torch.dtype) -> torch.dtype:
    """Return the floating-point format of a name: `float32`, `bfloat16` or `float16`.

    Raises:
        CheckpointError: it is another name.
    """
    if isinstance(name, torch.dtype) and name in DTYPES.values():
        return name
    if not isinstance(name, str) or name not in DTYPES:
        raise CheckpointError(f"dtype must be one of {', '.join(DTYPES)}, got {shortened(repr(name), 60)}")
    return DTYPES[name]
