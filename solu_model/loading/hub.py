"""Fetch checkpoints and tokenizers from the Hugging Face hub, into its cache.

The only place that reaches out. What is in the cache already needs no network.
"""

from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from solu_model.loading.weight_files import CheckpointError

_OWNER = "NeelNanda"
ALIASES = {
    **{f"solu-{n}l": f"{_OWNER}/SoLU_{n}L512W_C4_Code" for n in (1, 2, 3, 4)},
    "solu-6l": f"{_OWNER}/SoLU_6L768W_C4_Code",
    "solu-8l": f"{_OWNER}/SoLU_8L1024W_C4_Code",
    "solu-10l": f"{_OWNER}/SoLU_10L1280W_C4_Code",
    "solu-12l": f"{_OWNER}/SoLU_12L1536W_C4_Code",
    **{f"solu-{n}l-wiki": f"{_OWNER}/SoLU_{n}L512W_Wiki_Finetune" for n in (1, 4)},
    **{f"gelu-{n}l": f"{_OWNER}/GELU_{n}L512W_C4_Code" for n in (1, 2, 3, 4)},
    **{
        f"solu-{n}l-pile": f"{_OWNER}/SoLU_{n}L_v{v}_old"
        for n, v in ((1, 9), (2, 10), (4, 11), (6, 13), (8, 21), (10, 22), (12, 23))
    },
}
"""TransformerLens's short names of the published models."""

_TOKENIZER_FILES = ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"]


def fetch_checkpoint(name: str, tokens: int | None = None) -> Path:
    """A snapshot of a checkpoint's repository: configuration, tokenizer and one file of weights.

    Args:
        name: `owner/name`, or one of `ALIASES`.
        tokens: the training checkpoint after so many tokens, instead of the final weights.

    Raises:
        CheckpointError: the hub cannot be reached, or has no such repository.
    """
    if tokens is None:
        weights = ["*final.pth", "model.safetensors"]
    else:
        weights = [f"checkpoints/*_{tokens:012d}.pth", f"checkpoints/*_{tokens}.pth"]
        weights += ["*init.pth"] if tokens == 0 else []
    return _snapshot(ALIASES.get(name, name), ["config.json", *_TOKENIZER_FILES, *weights])


def fetch_tokenizer(name: str) -> Path:
    """A snapshot of the tokenizer files of a repository; errors as in `fetch_checkpoint`."""
    return _snapshot(name, _TOKENIZER_FILES)


def _snapshot(name: str, patterns: list[str]) -> Path:
    try:
        return Path(snapshot_download(name, allow_patterns=patterns))
    except HFValidationError as error:
        raise CheckpointError(
            f"{name!r} is neither a folder here nor a hub name (owner/name, or one of {', '.join(ALIASES)})"
        ) from error
    except (HfHubHTTPError, OSError) as error:
        raise CheckpointError(
            f"{name!r} is no folder here, and the hub did not give it ({_reason(error)}). Copy the "
            "repository into a folder on a machine that can reach the hub, and give that folder's path"
        ) from error


def _reason(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
