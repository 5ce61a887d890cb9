"""Load other causal language models with transformers: every tensor from the files, or an error.

transformers would draw missing weights at random, drop unexpected ones and only warn. Here its model is built
on the meta device and compared with the headers of the files, before anything is allocated or read.
"""

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel
from transformers.utils import logging as transformers_logging

from solu_model.loading.checkpoint_files import CONFIG, CheckpointError, check_fields, shortened
from solu_model.loading.checkpoints import Checkpoint
from solu_model.loading.weight_files import (
    WeightFiles,
    check_depth,
    misshapen,
    prefix_hint,
    refuse_mismatches,
)

_CONSTANT = re.compile(r"attn|attention|rotary_emb")
"""Modules whose constants older versions of transformers saved: causal masks and rotary frequencies."""
_SIZES = ("num_hidden_layers", "hidden_size", "num_attention_heads", "vocab_size")
_LARGEST = 2**40
"""Largest integer in a configuration. Larger ones are not sizes of anything."""


def load_other_model(
    found: Checkpoint,
    *,
    dtype: torch.dtype,
    device: torch.device | str,
    check: Callable[[PreTrainedModel], object],
) -> PreTrainedModel:
    """Load a causal language model of another kind, in evaluation mode.

    Args:
        found: its files.
        dtype: dtype of its weights.
        device: its device, or `auto`.
        check: called with the model while it is on the meta device; a `ValueError` ends the loading.

    Raises:
        CheckpointError: the configuration is not that of a causal language model that transformers has
            itself, or has a value out of range; its weights are quantized; the files are damaged; or a tensor
            is missing, unexpected or misshapen, which the message names.
    """
    source = found.folder / CONFIG
    if (found.folder / "adapter_config.json").is_file():
        raise CheckpointError(
            f"{found.folder} holds an adapter (adapter_config.json), which would be left out: merge it into "
            "the model, and give the folder of the result"
        )
    model_type = shortened(repr(found.fields.get("model_type")), 60)
    _check_values(found.fields, str(source))
    weights = WeightFiles(found.weights)
    try:
        with _quiet():
            # Never code from the folder: it would be somebody else's program with this person's rights, and
            # transformers would ask about it on the terminal.
            config = AutoConfig.from_pretrained(found.folder, local_files_only=True, trust_remote_code=False)
            _check_config(config, weights, str(source))
            config.return_dict = True  # what a pass returns is for its caller to say
            config.output_hidden_states = config.output_attentions = False
            with torch.device("meta"):
                empty = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
            check(empty)
            names = [name for name, header in weights.headers.items() if not _is_constant(name, header)]
            _compare(empty, weights, names)
    except CheckpointError:
        raise
    except Exception as error:  # transformers raises errors of every kind on an invalid configuration
        raise CheckpointError(
            f"{source} describes a model of type {model_type} that cannot be read: "
            f"{shortened(error) or type(error).__name__}"
        ) from error
    model, _ = _filled(type(empty), config, weights.read(names, dtype=dtype), device=device, dtype=dtype)
    model.eval()
    return model


def _check_values(fields: Mapping[str, Any], source: str) -> None:
    """Check what can be checked of the fields of any configuration.

    Raises:
        CheckpointError: a number is out of range, or as in `check_fields`.
    """
    check_fields(fields, source)
    wrong = []
    for name, value in fields.items():
        if isinstance(value, int) and abs(value) > _LARGEST:
            wrong.append(f"{shortened(name, 60)} is larger than any size")
        elif ("eps" in name.split("_") or "epsilon" in name) and not _is_small_number(value):
            wrong.append(f"{shortened(name, 60)} must be 0 to 1, got {shortened(repr(value), 60)}")
    if wrong:
        raise CheckpointError(f"{source} describes no valid model: {shortened('; '.join(wrong))}")


def _is_small_number(value: object) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value is None or (is_number and 0 <= value <= 1)  # type: ignore[operator] # NaN is neither


def _check_config(config: Any, weights: WeightFiles, source: str) -> None:
    if config.get_text_config() is not config:
        raise CheckpointError(
            f"{source} describes a model of type {config.model_type!r}, which reads more than text: expected "
            "a causal language model alone. Save its language model as a checkpoint of its own"
        )
    for name in _SIZES:
        value = getattr(config, name, None)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise CheckpointError(
                f"{source} describes no valid model: {name} must be a whole number above 0, got "
                f"{shortened(repr(value), 60)}"
            )
    check_depth(config.num_hidden_layers, weights)


def _is_constant(name: str, header: Tensor) -> bool:
    """Return True for a causal mask or the frequencies of rotary positions, which follow from the sizes."""
    *modules, last = name.split(".")
    if not any(_CONSTANT.fullmatch(module) for module in modules[-2:]):
        return False
    shape = header.shape
    is_mask = last == "bias" and len(shape) == 4 and shape[:2] == (1, 1) and shape[2] == shape[3]
    return is_mask or last == "inv_freq" or (last == "masked_bias" and len(shape) == 0)


def _compare(empty: PreTrainedModel, weights: WeightFiles, names: Sequence[str]) -> None:
    """Compare a model on the meta device with the headers of its files.

    transformers itself puts the headers into a second empty model, so its renaming of older names, tied
    weights and buffers count as they will when the tensors are read.
    """
    headers = {name: weights.headers[name] for name in names}
    _, report = _filled(type(empty), empty.config, headers, device="meta", dtype=torch.float32)
    expected = empty.state_dict()
    mismatches = [f"missing {name}" for name in sorted(report["missing_keys"])]
    mismatches += [f"unexpected {name}" for name in sorted(report["unexpected_keys"])]
    mismatches += [misshapen(*entry) for entry in sorted(report["mismatched_keys"])]
    mismatches += [shortened(message) for message in report.get("error_msgs", ())]
    mismatches += [
        f"{name} is {header.dtype}, not floating point"
        for name, header in headers.items()
        if name in expected and expected[name].is_floating_point() and not header.is_floating_point()
    ]
    refuse_mismatches(mismatches, weights.name, prefix_hint(headers))


def _filled(
    model_class: type[PreTrainedModel],
    config: Any,
    tensors: Mapping[str, Tensor],
    *,
    device: torch.device | str,
    dtype: torch.dtype,
) -> tuple[PreTrainedModel, dict[str, Any]]:
    """Return a model of `tensors`, which are not copied where device and dtype are equal, and a report."""
    with _quiet():
        filled: tuple[PreTrainedModel, dict[str, Any]] = model_class.from_pretrained(  # type: ignore[assignment]
            None,
            config=config,
            state_dict=dict(tensors),
            dtype=dtype,
            device_map=device if str(device) != "cpu" else None,
            ignore_mismatched_sizes=True,  # they are in the report
            output_loading_info=True,
        )
    return filled


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence transformers' progress bars and its report of missing tensors, which here is an error."""
    level, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.CRITICAL)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()
