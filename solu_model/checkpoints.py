"""Load a checkpoint folder, or say exactly why not."""

import json
from pathlib import Path

from safetensors import SafetensorError
from transformers import PreTrainedTokenizerFast

from solu_model.config import SoluConfig
from solu_model.model import SoluForCausalLM


class CheckpointError(ValueError):
    """A checkpoint that cannot be loaded, with what was expected, what was found and what to do."""


def load_checkpoint(path: str | Path) -> tuple[SoluForCausalLM, PreTrainedTokenizerFast]:
    """Load a model in evaluation mode and float32, with its tokenizer.

    Args:
        path: a folder with `config.json`, `model.safetensors` and `tokenizer.json`.

    Returns:
        The model and its tokenizer.

    Raises:
        CheckpointError: a file is missing or damaged, the weights are not those that the
            configuration describes (every missing, extra or misshapen tensor is named), or the
            tokenizer has another vocabulary.
    """
    folder = Path(path)
    config = _load_config(folder)
    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise CheckpointError(f"{folder} has no model.safetensors: copy the whole checkpoint folder")
    model = SoluForCausalLM(config)
    try:
        _load_weights(model, weights)
    except SafetensorError as error:
        raise CheckpointError(f"{weights} is damaged ({error}): copy or train it again") from error
    tokenizer = load_tokenizer(folder)
    if len(tokenizer) != config.d_vocab:
        raise CheckpointError(
            f"{folder} pairs a model of d_vocab = {config.d_vocab} with a tokenizer of {len(tokenizer)} "
            "tokens: one of them belongs to another checkpoint"
        )
    return model.eval(), tokenizer


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """The tokenizer of a checkpoint folder.

    Raises:
        CheckpointError: `tokenizer.json` is missing or damaged.
    """
    file = folder / "tokenizer.json"
    if not file.is_file():
        raise CheckpointError(f"{folder} has no tokenizer.json: copy the whole checkpoint folder")
    try:
        tokenizer: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(folder)
    except Exception as error:  # `tokenizers` raises bare Exception on a damaged file
        raise CheckpointError(f"{file} is damaged ({error}): copy it again") from error
    return tokenizer


def _load_config(folder: Path) -> SoluConfig:
    file = folder / "config.json"
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is not a folder: expected a checkpoint with config.json")
    if not file.is_file():
        raise CheckpointError(f"{folder} has no config.json: expected a checkpoint made by `solu train`")
    try:
        fields = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{file} is not JSON ({error}): copy it again") from error
    if not isinstance(fields, dict) or fields.get("model_type") != SoluConfig.model_type:
        found = fields.get("model_type") if isinstance(fields, dict) else type(fields).__name__
        raise CheckpointError(f"{file} describes a model of type {found!r}: expected 'solu'")
    try:
        return SoluConfig.from_dict(fields)
    except Exception as error:  # strict dataclasses raise their own family of errors
        raise CheckpointError(f"{file} describes no valid model: {' '.join(str(error).split())}") from error


def _load_weights(model: SoluForCausalLM, file: Path) -> None:
    from safetensors import safe_open

    expected = model.state_dict()
    with safe_open(file, framework="pt") as tensors:
        found = set(tensors.keys())
        problems = [f"missing {name}" for name in sorted(expected.keys() - found)]
        problems += [f"unexpected {name}" for name in sorted(found - expected.keys())]
        for name in sorted(found & expected.keys()):
            shape = list(tensors.get_slice(name).get_shape())
            if shape != list(expected[name].shape):
                problems.append(f"{name} is {shape} where config.json implies {list(expected[name].shape)}")
        if problems:
            raise CheckpointError(f"{file} does not fit its config.json: {'; '.join(problems)}")
        model.load_state_dict({name: tensors.get_tensor(name).float() for name in expected})
