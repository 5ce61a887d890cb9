"""Download checkpoints and tokenizers from the Hugging Face hub into its local cache.

No other module of this package uses the network, except `datasets` for corpora named on the hub. Files that
are already in the cache need no network.
"""

from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from solu_model.loading.checkpoint_files import CONFIG, PICKLED, CheckpointError, shortened

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
"""Repository by TransformerLens's short name of a published model."""

_WEIGHTS = ["*final.pth", "model.safetensors", "model.safetensors.index.json", "model-*-of-*.safetensors"]
_PICKLED_WEIGHTS = ["pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model-*-of-*.bin"]
_TOKENIZER_FILES = ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"]


def fetch_checkpoint(name: str, tokens: int | None = None) -> Path:
    """Download a checkpoint's configuration, tokenizer and weights, in one format.

    Args:
        name: `owner/name`, or one of `ALIASES`.
        tokens: download the training checkpoint taken after this many tokens, not the final weights.

    Returns:
        The folder of the snapshot in the hub's cache.

    Raises:
        CheckpointError: the hub cannot be reached, or has no such repository.
    """
    repository, common = ALIASES.get(name, name), [CONFIG, *_TOKENIZER_FILES]
    if tokens is not None:
        weights = [f"checkpoints/*_{tokens:012d}.pth", f"checkpoints/*_{tokens}.pth"]
        weights += ["*init.pth"] if tokens == 0 else []
        return _snapshot(repository, [*common, *weights])
    folder = _snapshot(repository, [*common, *_WEIGHTS])
    if any(file.suffix in (".safetensors", *PICKLED) for file in folder.iterdir()):
        return folder
    # Many repositories have the same weights in both formats, so this one comes second.
    return _snapshot(repository, [*common, *_PICKLED_WEIGHTS])


def fetch_tokenizer(name: str) -> Path:
    """Download the tokenizer files of a repository; result and errors are as in `fetch_checkpoint`."""
    return _snapshot(name, _TOKENIZER_FILES)


def _snapshot(name: str, patterns: list[str]) -> Path:
    try:
        return Path(snapshot_download(name, allow_patterns=patterns))
    except HFValidationError as error:
        raise CheckpointError(
            f"{name!r} is neither a local folder nor a hub name (owner/name, or one of {', '.join(ALIASES)})"
        ) from error
    except (HfHubHTTPError, OSError) as error:
        raise CheckpointError(
            f"{name!r} is not a local folder, and downloading it from the hub failed ({_reason(error)}). "
            "Copy the repository into a folder on a machine that reaches the hub, and give that folder's path"
        ) from error


def _reason(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return shortened(f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__, 200)
