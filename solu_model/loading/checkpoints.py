"""Load and save checkpoints, in our format or TransformerLens's, from a folder or from the hub.

A checkpoint that cannot be loaded raises a `CheckpointError`, which names everything that is wrong with it.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from transformers import PreTrainedTokenizerFast

from solu_model.config import SoluConfig
from solu_model.files import is_utf8, printable, written_aside
from solu_model.loading import hub
from solu_model.loading.checkpoint_files import (
    CONFIG,
    CheckpointError,
    check_fields,
    folder_of,
    is_transformerlens,
    read_object,
    shortened,
    weight_files_of,
)
from solu_model.loading.transformerlens import load_transformerlens
from solu_model.loading.weight_files import WeightFiles, assign, check_depth, check_fit, empty_model
from solu_model.model import SoluForCausalLM
from solu_model.protocols import NeuronModel
from solu_model.text.tokenization import check_vocabulary
from solu_model.text.tokenizer_error import TokenizerError, panics_as_errors

_log = logging.getLogger(__name__)

__all__ = ["CheckpointError", "load_checkpoint", "load_tokenizer", "load_with_tokenizer", "save_checkpoint"]


_OF_A_PASS = {
    "return_dict",
    "output_attentions",
    "output_hidden_states",
    "attn_implementation",
    "_attn_implementation",
}
"""Fields that say how a pass runs and what it returns, which is for its caller to say."""


_BESIDE_TOKENIZER = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
"""Files that are read with a tokenizer.json. Each is a JSON object."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was found on disk."""

    folder: Path
    fields: Mapping[str, Any]
    """Content of its config.json."""
    weights: Sequence[Path]
    """The files that hold its weights."""
    hub_name: str | None = None
    """Its name on the hub, if it was downloaded."""


def load_checkpoint(
    path: str | Path, *, tokenizer: str | Path | None = None, tokens: int | None = None
) -> tuple[SoluForCausalLM, PreTrainedTokenizerFast | None]:
    """Load a model and its tokenizer. The model is in evaluation mode and float32.

    `load_neuron_model` loads these and other causal models. The weights are read into memory of their own, so
    the files may be replaced while the model is in use.

    Args:
        path: a folder with `config.json` and weights, in our format (`model.safetensors`) or in
            TransformerLens's (see `transformerlens`); a weights file in such a folder; or a hub name such as
            `NeelNanda/SoLU_1L512W_C4_Code` or `solu-1l` (see `hub.ALIASES`).
            `checkpoint_files.weight_files_of` chooses the files of a folder.
        tokenizer: a folder with tokenizer.json, the file itself, or a hub name; None: the checkpoint's own.
        tokens: load the training checkpoint taken after this many tokens (TransformerLens's format).

    Returns:
        The model and the tokenizer. The tokenizer is None, with a logged warning, if the checkpoint has none
        and the one it names cannot be loaded.

    Raises:
        CheckpointError: a file is missing, is damaged or would run code when loaded; the weights do not fit
            the configuration (the message names the missing, extra or misshapen tensors); `tokenizer` cannot
            be loaded, or has another vocabulary.
    """
    found = locate(path, tokens)
    fields = found.fields
    if not is_transformerlens(fields) and fields.get("model_type") != SoluConfig.model_type:
        model_type = shortened(repr(fields.get("model_type")), 60)
        raise CheckpointError(
            f"{found.folder / CONFIG} describes a model of type {model_type}: "
            "expected 'solu', or a TransformerLens configuration with d_model and act_fn. Other causal "
            "language models open through solu_model.load_neuron_model"
        )
    model = load_solu(found)
    return model, _tokenizer_of(model, found, tokenizer)


def load_with_tokenizer(
    path: str | Path, *, tokenizer: str | Path | None = None, tokens: int | None = None
) -> tuple[SoluForCausalLM, PreTrainedTokenizerFast]:
    """Load as `load_checkpoint` does; a missing tokenizer is an error.

    Raises:
        CheckpointError: as in `load_checkpoint`, or there is no tokenizer.
    """
    model, loaded = load_checkpoint(path, tokenizer=tokenizer, tokens=tokens)
    return model, _required(loaded, path)


def with_tokenizer(
    model: NeuronModel, found: Checkpoint, tokenizer: str | Path | None, path: str | Path
) -> PreTrainedTokenizerFast:
    """Return the tokenizer of a model that was loaded from `found`.

    Raises:
        CheckpointError: it has none, or none that can be loaded.
    """
    if isinstance(model, SoluForCausalLM):
        return _required(_tokenizer_of(model, found, tokenizer), path)
    return load_tokenizer(tokenizer or found.folder)


def save_checkpoint(
    model: SoluForCausalLM, folder: Path, tokenizer: PreTrainedTokenizerFast | None = None
) -> None:
    """Write a checkpoint in our format: config.json, model.safetensors and, if given, the tokenizer.

    Args:
        model: the model; its weights keep their dtype.
        folder: the folder to write; an existing one is replaced when everything is written.
        tokenizer: saved into the same folder.
    """
    with written_aside(folder) as aside:
        aside.mkdir()
        model.config.save_pretrained(aside)
        weights = {name: t.detach().cpu().contiguous() for name, t in model.state_dict().items()}
        save_file(weights, aside / "model.safetensors", metadata={"format": "pt"})
        if tokenizer is not None:
            tokenizer.save_pretrained(aside)


def load_tokenizer(path: str | Path) -> PreTrainedTokenizerFast:
    """Load a tokenizer from a folder with tokenizer.json, from that file, or from the hub (`owner/name`).

    Raises:
        CheckpointError: there is no tokenizer, it is damaged, or the hub cannot be reached.
    """
    given = Path(path)
    if isinstance(path, str) and not given.exists() and path.count("/") == 1:  # owner/name
        given = hub.fetch_tokenizer(path)
    file = given / "tokenizer.json" if given.is_dir() or not given.suffix else given
    if not file.is_file():
        raise CheckpointError(
            f"{given} has no tokenizer.json: copy it into the folder, or give a tokenizer (--tokenizer PATH)"
        )
    if file.name == "tokenizer.json":
        for name in _BESIDE_TOKENIZER:
            if (file.parent / name).is_file():
                read_object(file.parent / name)  # else its damage is reported as the tokenizer's
    try:
        with panics_as_errors():
            if file.name == "tokenizer.json":
                return _fast_tokenizer(file.parent)
            return PreTrainedTokenizerFast(tokenizer_file=str(file))
    except TokenizerError as error:
        raise CheckpointError(f"{file} is damaged: {error}") from error
    except Exception as error:  # of any kind: the files of a tokenizer are read by several libraries
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(f"{file} is damaged ({reason}): copy it again") from error


def _fast_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    tokenizer: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(
        folder, local_files_only=True
    )
    return tokenizer


def locate(path: str | Path, tokens: int | None = None) -> Checkpoint:
    """Find a checkpoint, and download it if `path` is a hub name. Arguments as in `load_checkpoint`.

    Raises:
        CheckpointError: there is no such folder or file, it lacks config.json or weights, or the hub cannot
            be reached.
    """
    local, name = Path(path), None
    if local.is_file() and tokens is not None:
        raise CheckpointError(f"{local} is a file: give its folder with `tokens`, or the file alone")
    if not local.is_dir() and not local.is_file():
        name = hub.ALIASES.get(str(path), str(path))
        if isinstance(path, Path) or name.count("/") != 1 or name.startswith((".", "/", "~")):
            raise CheckpointError(
                f"{path} is not a folder: expected a checkpoint with config.json, or a hub name "
                f"(owner/name, or one of {', '.join(hub.ALIASES)})"
            )
        local = hub.fetch_checkpoint(name, tokens)
    if not is_utf8(local):
        raise CheckpointError(
            f"{printable(local)} is not UTF-8, which the libraries that read it need: rename the folder"
        )
    folder = folder_of(local)
    fields = read_object(folder / CONFIG)
    return Checkpoint(folder, fields, weight_files_of(local, tokens, fields), name)


def load_solu(found: Checkpoint) -> SoluForCausalLM:
    """Load a model of our format or TransformerLens's, in evaluation mode and float32.

    Raises:
        CheckpointError: as in `load_checkpoint`.
    """
    if is_transformerlens(found.fields):
        (file,) = found.weights
        return load_transformerlens(found.folder, found.fields, file, name=found.hub_name)
    check_fields(found.fields, found.folder / CONFIG)
    try:
        config = SoluConfig.from_dict({k: v for k, v in found.fields.items() if k not in _OF_A_PASS})
    except Exception as error:  # strict dataclasses raise their own family of errors
        raise CheckpointError(
            f"{found.folder / CONFIG} describes no valid model: {shortened(error)}"
        ) from error
    weights = WeightFiles(found.weights)
    check_depth(config.n_layers, weights)
    model = empty_model(config)
    check_fit(model.state_dict(), weights.headers, weights.name)
    assign(model, weights.read())
    return model


def _required(loaded: PreTrainedTokenizerFast | None, path: str | Path) -> PreTrainedTokenizerFast:
    if loaded is None:
        raise CheckpointError(
            f"{path} has no tokenizer.json: copy the whole checkpoint folder, or give a folder with the "
            "tokenizer.json that the model was trained with (--tokenizer PATH)"
        )
    return loaded


def _tokenizer_of(
    model: SoluForCausalLM, found: Checkpoint, tokenizer: str | Path | None
) -> PreTrainedTokenizerFast | None:
    """Load the tokenizer that is given, or else the checkpoint's own, and check that it fits the model."""
    if tokenizer is not None:
        loaded: PreTrainedTokenizerFast | None = load_tokenizer(tokenizer)
    else:
        loaded = _own_tokenizer(found.folder, found.fields)
    if loaded is not None:
        bos_is_stated = found.fields.get("bos_token_id") is not None
        _pair(model, loaded, tokenizer or found.folder, bos_is_stated=bos_is_stated)
    return loaded


def _own_tokenizer(folder: Path, fields: Mapping[str, Any]) -> PreTrainedTokenizerFast | None:
    """Load the folder's tokenizer, or else the one its configuration names; None, with a warning, without."""
    if (folder / "tokenizer.json").is_file():
        return load_tokenizer(folder)
    named = fields.get("tokenizer_name")
    reason = "has no tokenizer.json, and its configuration names no tokenizer"
    if isinstance(named, str) and named:
        try:
            return load_tokenizer(named)
        except CheckpointError as error:
            reason = f"names the tokenizer {named!r}, which could not be loaded: {error}"
    _log.warning(
        "%s %s. The model is loaded without a tokenizer: to read and show text, give a folder with its "
        "tokenizer.json (--tokenizer PATH)",
        folder,
        reason,
    )
    return None


def _pair(
    model: SoluForCausalLM, tokenizer: PreTrainedTokenizerFast, source: str | Path, *, bos_is_stated: bool
) -> None:
    """Check that the tokenizer is the model's; take the BOS from it if config.json does not state one."""
    try:
        check_vocabulary(tokenizer.backend_tokenizer, model.config.d_vocab)
    except TokenizerError as error:
        raise CheckpointError(f"{source}: {error}") from error
    if not bos_is_stated and tokenizer.bos_token_id is not None:
        model.config.bos_token_id = int(tokenizer.bos_token_id)
