"""Read and write the TransformerLens format, in which SoLU and GELU models were published.

A checkpoint is a folder with `config.json` and a state dict: `model_final.pth`, and for training checkpoints
`checkpoints/tokens_{12 digits}.pth`. The names in the state dict are the names of our parameters. There are
two layouts: the new one, and `_old`, where norms have other names and early models have transposed matrices.

Deliberate differences from TransformerLens's own loader:

- GELU runs in its tanh form, with which the published GELU models were trained. TransformerLens runs the
  exact form; `hook_post` differs by up to 4.7e-4.
- `LNPre` means that norms were folded into other weights. Norm weights that the file holds nonetheless are
  applied; where the file has none, w = 1 and b = 0. TransformerLens drops or folds them.
- Nothing is filled in or dropped silently: see `weight_files.fit`.
"""

import json
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from solu_model.config import ActFn, SoluConfig
from solu_model.files import written_aside
from solu_model.loading.weight_files import CheckpointError, fit, read_tensors
from solu_model.model import SoluForCausalLM

_log = logging.getLogger(__name__)

# Our act_fn by TransformerLens's name. Both of its names for GELU mean the tanh form here, see above.
_ACT_FNS: dict[str, ActFn] = {"solu_ln": "solu_ln", "solu": "solu", "gelu": "gelu", "gelu_new": "gelu"}
_WRITTEN_ACT_FNS = {"solu_ln": "solu_ln", "solu": "solu", "gelu": "gelu_new"}
_EPS = 1e-5
_SIZES = ("d_model", "n_layers", "d_mlp", "d_head", "n_heads", "n_ctx", "d_vocab")
# BOS and PAD of the tokenizers that the published models name. A tokenizer that is loaded overrides the BOS.
_SPECIAL_IDS = {"NeelNanda/gpt-neox-tokenizer-digits": (1, 2), "EleutherAI/gpt-neox-20b": (0, None)}
# Buffers of the attention, which are stored beside the parameters.
_BUFFER = re.compile(r"blocks\.\d+\.attn\.(mask|IGNORE)")
_NORM = re.compile(r"(blocks\.\d+\.(ln1|ln2|mlp\.ln)|ln_final)\.[wb]")
_CHECKPOINT = re.compile(r"_(\d+)\.pth$")


def is_transformerlens(fields: Mapping[str, Any]) -> bool:
    """Return True if the fields of a config.json are of this format."""
    return "model_type" not in fields and "act_fn" in fields and "d_model" in fields


def read_config(fields: Mapping[str, Any], source: str | Path) -> SoluConfig:
    """Return the `SoluConfig` that describes the same model as a config.json of this format.

    Args:
        fields: the parsed config.json. Fields of the training (learning rate, seed, ...) are not read.
        source: the file, for messages.

    Raises:
        CheckpointError: a field is missing, or demands arithmetic that this package does not support.
    """
    unsupported = [f"{name} is missing" for name in _SIZES if name not in fields]
    if fields.get("attn_only"):
        unsupported.append("attn_only is true: a model without an MLP has no neurons to explore")
    elif fields.get("act_fn") not in _ACT_FNS:
        unsupported.append(f"act_fn is {fields.get('act_fn')!r}, expected one of {', '.join(_ACT_FNS)}")
    if fields.get("shortformer_pos") or fields.get("use_pos_resid") is False:
        unsupported.append(
            "positions are added to queries and keys alone (shortformer), which is not supported"
        )
    for name in ("neuron_temp", "neuron_scale"):
        if (value := fields.get(name)) is not None and value != 1:
            unsupported.append(
                f"{name} is {value}, expected 1: training computed act(x / neuron_temp) and "
                "mlp_out * neuron_scale; fold the factors into the weights first"
            )
    if (normalization := _normalization(fields)) not in ("LN", "LNPre"):
        unsupported.append(f"normalization is {normalization!r}, expected 'LN' or 'LNPre'")
    if fields.get("d_vocab_out", fields.get("d_vocab")) not in (fields.get("d_vocab"), -1, None):
        unsupported.append(f"d_vocab_out is {fields['d_vocab_out']}, expected d_vocab")
    if unsupported:
        raise CheckpointError(f"{source} describes a model that cannot be loaded: {'; '.join(unsupported)}")
    bos, pad = _SPECIAL_IDS.get(str(fields.get("tokenizer_name")), (None, None))
    try:
        return SoluConfig(
            **{name: fields[name] for name in _SIZES},
            act_fn=_ACT_FNS[fields["act_fn"]],
            final_rms=bool(fields.get("final_rms", False)),
            layer_norm_eps=float(fields.get("ln_eps", _EPS)),
            bos_token_id=fields.get("bos_token_id", bos),
            # GPT-NeoX uses one token as BOS and EOS; the other tokenizer has EOS 0, BOS 1, PAD 2.
            eos_token_id=fields.get("eos_token_id", bos if pad is None else 0),
            pad_token_id=fields.get("pad_token_id", pad),
        )
    except Exception as error:  # strict dataclasses raise their own family of errors
        raise CheckpointError(f"{source} describes no valid model: {' '.join(str(error).split())}") from error


def load_transformerlens(
    folder: Path,
    fields: Mapping[str, Any],
    *,
    name: str | None = None,
    file: Path | None = None,
    tokens: int | None = None,
) -> SoluForCausalLM:
    """Load a model from a folder of this format, in evaluation mode and float32.

    Args:
        folder: the folder with config.json and the weights.
        fields: the parsed config.json.
        name: the hub name if the folder was downloaded; `_old` in it indicates the layout.
        file: the weights file to read; None: chosen by `weights_file`.
        tokens: load the training checkpoint taken after this many tokens, not the final weights.

    Raises:
        CheckpointError: as in `read_config`, `weights_file`, and `read_tensors` and `fit` of `weight_files`.
    """
    config = read_config(fields, folder / "config.json")
    file = file or weights_file(folder, tokens)
    tensors = {k: v for k, v in read_tensors(file).items() if not _BUFFER.fullmatch(k)}
    if _is_old(fields, name or str(folder.absolute()), file, tensors):
        tensors = _from_old(tensors, config.n_layers)
    model = SoluForCausalLM(config)
    model.eval()
    # Some published files have no b_U; TransformerLens uses zeros as well.
    tensors.setdefault("unembed.b_U", torch.zeros(config.d_vocab))
    if _normalization(fields) == "LNPre":
        tensors |= _folded_norms(model, tensors)
    fit(model, tensors, file, _hint(config, tensors))
    if fields["act_fn"] == "gelu":
        _log.info(
            "%s: GELU runs in its tanh form, as the published models were trained; "
            "TransformerLens runs the exact form, up to 4.7e-4 away in hook_post",
            folder,
        )
    return model


def weights_file(folder: Path, tokens: int | None = None) -> Path:
    """Choose the weights file of a folder.

    Args:
        folder: the folder of a checkpoint.
        tokens: None: the final weights, which are the first `*final.pth` by name, or else the only `.pth` or
            `.safetensors` file. Otherwise `checkpoints/*_{tokens}.pth`; 0 also stands for `*init.pth`.

    Raises:
        CheckpointError: there is no such file, or more than one candidate; the message lists the files.
    """
    if tokens is not None:
        labelled = {
            int(match[1]): path
            for path in sorted(folder.glob("checkpoints/*.pth"))
            if (match := _CHECKPOINT.search(path.name))
        }
        if tokens == 0 and (initial := sorted(folder.glob("*init.pth"))):
            labelled.setdefault(0, initial[0])
        if tokens not in labelled:
            have = ", ".join(str(label) for label in sorted(labelled)) or "none"
            raise CheckpointError(
                f"{folder} has no training checkpoint at {tokens} tokens (checkpoints/*_{{tokens}}.pth); "
                f"it has: {have}"
            )
        return labelled[tokens]
    final = sorted(folder.glob("*final.pth"))
    if len(final) > 1:
        _log.warning("%s: reading %s, not %s", folder, final[0].name, ", ".join(f.name for f in final[1:]))
    others = [] if final else sorted([*folder.glob("*.pth"), *folder.glob("*.safetensors")])
    if not final and len(others) != 1:
        candidates = ", ".join(f.name for f in others) or "no .pth and no .safetensors"
        raise CheckpointError(
            f"{folder} has no weights file whose name ends in final.pth, and {candidates}: "
            "copy the whole folder, or give the path of one file in it"
        )
    return (final or others)[0]


def save_transformerlens(
    model: SoluForCausalLM, folder: Path, tokenizer: PreTrainedTokenizerFast | None = None
) -> None:
    """Write a model in the new layout: config.json, model_final.pth and, if given, the tokenizer.

    Args:
        model: a model that the format can describe: `solu_ln`, `solu` or `gelu`, one block of neurons,
            LayerNorm eps 1e-5. GELU is written as `gelu_new`, TransformerLens's name of the tanh form.
        folder: the folder to write; an existing one is replaced when everything is written.
        tokenizer: saved into the same folder.

    Raises:
        CheckpointError: the format cannot describe this model's configuration.
    """
    config = model.config
    unsupported = []
    if config.act_fn not in _WRITTEN_ACT_FNS:
        unsupported.append(f"act_fn {config.act_fn!r} (it has {', '.join(_WRITTEN_ACT_FNS)})")
        if config.act_fn == "exp_ln":
            unsupported[-1] += "; convert it to solu_ln first"
    if config.n_mlp_blocks != 1:
        unsupported.append(f"n_mlp_blocks = {config.n_mlp_blocks}")
    for name in ("layer_norm_eps", "mlp_layer_norm_eps"):
        if (eps := getattr(config, name)) not in (None, _EPS):
            unsupported.append(f"{name} = {eps} (it is {_EPS} there)")
    if unsupported:
        raise CheckpointError(f"the TransformerLens format cannot describe {'; '.join(unsupported)}")
    fields = {name: getattr(config, name) for name in _SIZES} | {
        "act_fn": _WRITTEN_ACT_FNS[config.act_fn],
        "attn_only": False,
        "final_rms": config.final_rms,
        "normalization": "LN",
        "shortformer_pos": False,
        "tokenizer_name": None,
        "bos_token_id": config.bos_token_id,
        "eos_token_id": config.eos_token_id,
        "pad_token_id": config.pad_token_id,
    }
    with written_aside(folder) as aside:
        aside.mkdir()
        (aside / "config.json").write_text(json.dumps(fields, indent=1) + "\n", encoding="utf-8")
        torch.save({k: v.detach().cpu() for k, v in model.state_dict().items()}, aside / "model_final.pth")
        if tokenizer is not None:
            tokenizer.save_pretrained(aside)


def _normalization(fields: Mapping[str, Any]) -> Any:
    return fields.get("normalization", fields.get("normalization_type"))


def _is_old(fields: Mapping[str, Any], name: str, file: Path, tensors: Mapping[str, Tensor]) -> bool:
    """Return True if the layout is `_old`, as the config, the file's name or the norms' names indicate."""
    return (
        fields.get("architecture") == "neel-solu-old"
        or any(part.endswith("_old") for part in Path(name).parts[-3:])
        or re.match(r"SoLU_\d+L_v\d+_", file.name) is not None
        or any("norm" in key for key in tensors)
    )


def _from_old(tensors: Mapping[str, Tensor], n_layers: int) -> dict[str, Tensor]:
    """Convert the `_old` layout to the names and orientation of the new one.

    `norm` becomes `ln`, and a leading `ln` becomes `ln_final`. `W_pos` is transposed in models of up to 8
    layers, and the last two dimensions of every other `W_*` in models of up to 6 layers. The depth decides
    and not the shape, because matrices may be square.
    """
    new = {}
    for key, tensor in tensors.items():
        name = re.sub(r"^ln\.", "ln_final.", key.replace("norm", "ln"))
        transposed = n_layers <= 8 if name.endswith("W_pos") else "W_" in name and n_layers <= 6
        new[name] = tensor.transpose(-2, -1).contiguous() if transposed and tensor.ndim >= 2 else tensor
    return new


def _folded_norms(model: SoluForCausalLM, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return w = 1 and b = 0 for each norm that an LNPre file omits entirely; half a norm is an error."""
    parameters = model.state_dict()
    absent = [n for n in parameters if _NORM.fullmatch(n) and n not in tensors]
    present = {n.rpartition(".")[0] for n in tensors if _NORM.fullmatch(n)}
    fresh = {n: torch.ones if n.endswith(".w") else torch.zeros for n in absent}
    return {n: make(parameters[n].shape) for n, make in fresh.items() if n.rpartition(".")[0] not in present}


def _hint(config: SoluConfig, tensors: Mapping[str, Tensor]) -> str:
    """Return the probable cause if the weights do not fit the configuration; empty without one."""
    if config.act_fn in ("solu", "gelu") and "blocks.0.mlp.ln.w" in tensors:
        return f"act_fn {config.act_fn!r} has no LayerNorm after it, but the file holds one: is it solu_ln?"
    if not config.final_rms and "ln_final.w" in tensors and "ln_final.b" not in tensors:
        return "A final norm with a weight and no bias is RMS: is final_rms true?"
    return ""
