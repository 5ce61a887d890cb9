"""Read and write the TransformerLens format, in which SoLU and GELU models were published.

A checkpoint is a folder with `config.json` and a state dict: `model_final.pth`, and for training checkpoints
`checkpoints/tokens_{12 digits}.pth`. The names in the state dict are the names of our parameters. There are
two layouts: the new one, and `_old`, where norms have other names and early models have transposed matrices.

Deliberate differences from TransformerLens's own loader:

- GELU runs in its tanh form, with which the published GELU models were trained. TransformerLens runs the
  exact form; `hook_post` differs by up to 4.7e-4.
- `LNPre` means that norms were folded into other weights. Norm weights that the file holds nonetheless are
  applied; where the file has none, w = 1 and b = 0. TransformerLens drops or folds them.
- Nothing is filled in or dropped silently: see `weight_files.check_fit`.
"""

import json
import logging
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeGuard

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from solu_model.config import ActFn, SoluConfig
from solu_model.files import written_aside
from solu_model.loading.checkpoint_files import CONFIG, CheckpointError, listed, shortened
from solu_model.loading.weight_files import WeightFiles, assign, check_depth, check_fit, empty_model
from solu_model.model import SoluForCausalLM

_log = logging.getLogger(__name__)

# Our act_fn by TransformerLens's name. Both of its names for GELU mean the tanh form here, see above.
_ACT_FNS: dict[str, ActFn] = {"solu_ln": "solu_ln", "solu": "solu", "gelu": "gelu", "gelu_new": "gelu"}
_WRITTEN_ACT_FNS = {"solu_ln": "solu_ln", "solu": "solu", "gelu": "gelu_new"}
_EPS = 1e-5
_SIZES = ("d_model", "n_layers", "d_mlp", "d_head", "n_heads", "n_ctx", "d_vocab")
# BOS and PAD of the tokenizers that the published models name. A tokenizer that is loaded overrides the BOS.
_SPECIAL_IDS = {"NeelNanda/gpt-neox-tokenizer-digits": (1, 2), "EleutherAI/gpt-neox-20b": (0, None)}
_ARITHMETIC: dict[str, tuple[object, ...]] = {
    "attention_dir": ("causal",),
    "attn_scores_soft_cap": (-1, 0),
    "attn_types": (),
    "experts_per_token": (),
    "factored_embed": (False,),
    "gated_mlp": (False,),
    "num_experts": (),
    "output_logits_soft_cap": (-1, 0),
    "parallel_attn_mlp": (False,),
    "positional_embedding_type": ("standard",),
    "post_embedding_ln": (False,),
    "relative_attention_max_distance": (),
    "relative_attention_num_buckets": (),
    "rotary_adjacent_pairs": (False,),
    "rotary_dim": (),
    "scale_attn_by_inverse_layer_idx": (False,),
    "tie_word_embeddings": (False,),
    "use_ET": (False,),
    "use_NTK_by_parts_rope": (False,),
    "use_attn_scale": (True,),
    "use_local_attn": (False,),
    "use_normalization_before_and_after": (False,),
    "use_qk_norm": (False,),
    "window_size": (),
}
"""Values, besides null, with which a field asks for the arithmetic of this package; others are refused."""
_HARMLESS_FIELDS = """
d_model n_layers d_mlp d_head n_heads n_ctx d_vocab d_vocab_out act_fn attn_only attn_scale final_rms ln_eps
eps normalization normalization_type n_key_value_heads neuron_scale neuron_temp shortformer_pos use_pos_resid
bos_token_id eos_token_id pad_token_id tokenizer_name

model_name original_architecture architecture from_checkpoint checkpoint_index checkpoint_label_type
checkpoint_value device n_devices n_params dtype default_prepend_bos tokenizer_prepends_bos trust_remote_code
load_in_4bit ungroup_grouped_query_attention use_attn_in use_attn_result use_hook_mlp_in use_hook_tokens
use_split_qkv_input rotary_base rotary_base_local NTK_by_parts_low_freq_factor NTK_by_parts_high_freq_factor
NTK_by_parts_factor NTK_original_ctx_len

init_mode init_weights initializer_range initializer_scale_embed initializer_scale_global
initializer_scale_hidden initializer_scale_unembed weight_init_mode weight_init_scale weight_init_scheme
W_O_init_scale fixed_init store_init seed right_multiply_matrices checkpoint_scale grad_norm_clip
"""
_HARMLESS = frozenset(_HARMLESS_FIELDS.split())
"""Fields that are harmless: those that `read_config` reads or checks itself; names, devices and hooks of
TransformerLens; initial weights and training."""
_PART_OF_THE_NETWORK = re.compile(
    r"(?:^|_)(?:attn|attention|head|qk|rope|rotary|alibi|pos|position|norm|rms|eps|act|gate|mlp|neuron|expert"
    r"|moe|swiglu|geglu|glu|mup|sliding|resid|scale|temp|cap|softcap|window|parallel|embed|logit|bias|layer|vocab|tie)",
    re.IGNORECASE,
)
"""Names of fields that may ask for other arithmetic. The other unknown ones are of the training."""
# Buffers of the attention, which are stored beside the parameters.
_BUFFER = re.compile(r"blocks\.\d+\.attn\.(mask|IGNORE)")
_NORM = re.compile(r"(blocks\.\d+\.(ln1|ln2|mlp\.ln)|ln_final)\.[wb]")


def read_config(fields: Mapping[str, Any], source: str | Path) -> SoluConfig:
    """Return the `SoluConfig` that describes the same model as a config.json of this format.

    Args:
        fields: the parsed config.json. Fields of the training (learning rate, seed, ...) are not read. A
            field that asks for other arithmetic, or is not known and may do so, is refused by name.
        source: the file, for messages.

    Raises:
        CheckpointError: a field is missing, or demands arithmetic that this package does not support.
    """
    unsupported = [f"{name} is missing" for name in _SIZES if name not in fields]
    if fields.get("attn_only"):
        unsupported.append("attn_only is true: a model without an MLP has no neurons to explore")
    elif not isinstance(fields.get("act_fn"), str) or fields["act_fn"] not in _ACT_FNS:
        unsupported.append(
            f"act_fn is {_written(fields.get('act_fn'))}, expected one of {', '.join(_ACT_FNS)}"
        )
    if fields.get("shortformer_pos") or fields.get("use_pos_resid") is False:
        unsupported.append(
            "positions are added to queries and keys alone (shortformer), which is not supported"
        )
    for name in ("neuron_temp", "neuron_scale"):
        if (value := fields.get(name)) is not None and value != 1:
            unsupported.append(
                f"{name} is {_written(value)}, expected 1: training computed act(x / neuron_temp) and "
                "mlp_out * neuron_scale; fold the factors into the weights first"
            )
    names = [n for n in ("normalization", "normalization_type") if n in fields] or ["normalization"]
    for name in names:
        if (value := fields.get(name)) not in ("LN", "LNPre"):
            unsupported.append(f"{name} is {_written(value)}, expected 'LN' or 'LNPre'")
    if len({_written(fields.get(name)) for name in names}) > 1:
        unsupported.append("normalization and normalization_type differ, expected one of them")
    for name, allowed in (
        ("d_vocab_out", (fields.get("d_vocab"), -1)),
        ("n_key_value_heads", (fields.get("n_heads"),)),
    ):
        if (value := fields.get(name)) is not None and value not in allowed:
            same = "d_vocab" if name == "d_vocab_out" else "n_heads"
            unsupported.append(f"{name} is {_written(value)}, expected {same}")
    unsupported += _other_arithmetic(fields)
    if not isinstance(fields.get("final_rms", False), bool | None):
        unsupported.append(f"final_rms is {_written(fields['final_rms'])}, expected true or false")
    eps = {fields[name] for name in ("ln_eps", "eps") if _is_number(fields.get(name))} or {_EPS}
    if len(eps) != 1 or any(n in fields and not _is_number(fields[n]) for n in ("ln_eps", "eps")):
        unsupported.append(
            f"ln_eps is {_written(fields.get('ln_eps'))} and eps {_written(fields.get('eps'))}, expected "
            "one number"
        )
    if unsupported:
        raise CheckpointError(f"{source} describes a model that cannot be loaded: {listed(unsupported)}")
    bos, pad = _SPECIAL_IDS.get(str(fields.get("tokenizer_name")), (None, None))
    try:
        return SoluConfig(
            **{name: fields[name] for name in _SIZES},
            act_fn=_ACT_FNS[fields["act_fn"]],
            final_rms=bool(fields.get("final_rms", False)),
            layer_norm_eps=float(eps.pop()),
            bos_token_id=fields.get("bos_token_id", bos),
            # GPT-NeoX uses one token as BOS and EOS; the other tokenizer has EOS 0, BOS 1, PAD 2.
            eos_token_id=fields.get("eos_token_id", bos if pad is None else 0),
            pad_token_id=fields.get("pad_token_id", pad),
        )
    except Exception as error:  # strict dataclasses raise their own family of errors
        raise CheckpointError(f"{source} describes no valid model: {shortened(error)}") from error


def _other_arithmetic(fields: Mapping[str, Any]) -> list[str]:
    """Describe the fields that ask for arithmetic that this package does not have, or may do so."""
    described = []
    for name, value in fields.items():
        if name in _HARMLESS or value is None:
            continue
        if name not in _ARITHMETIC:
            if value is not False and _PART_OF_THE_NETWORK.search(name):
                described.append(f"{shortened(name, 60)} is {_written(value)}, a field that is not known")
        elif not any(
            value == allowed and isinstance(value, bool) == isinstance(allowed, bool)
            for allowed in _ARITHMETIC[name]
        ):
            described.append(
                f"{name} is {_written(value)}, expected "
                f"{' or '.join(_written(v) for v in _ARITHMETIC[name]) or 'null'}"
            )
    head, scale = fields.get("d_head"), fields.get("attn_scale")
    root = head**0.5 if _is_number(head) and head > 0 else 1.0
    if scale not in (None, -1) and not (_is_number(scale) and math.isclose(scale, root, rel_tol=1e-6)):
        described.append(f"attn_scale is {_written(scale)}, expected the root of d_head")
    return described


def _is_number(value: object) -> TypeGuard[float]:
    if isinstance(value, int):
        return not isinstance(value, bool) and abs(value) < 2**63  # larger ones are no float
    return isinstance(value, float)


def _written(value: object) -> str:
    """Return a value of a configuration for a message."""
    return shortened(repr(value), 60)


def load_transformerlens(
    folder: Path, fields: Mapping[str, Any], file: Path, *, name: str | None = None
) -> SoluForCausalLM:
    """Load a model from a folder of this format, in evaluation mode and float32.

    Args:
        folder: the folder with config.json.
        fields: the parsed config.json.
        file: the weights file to read; see `checkpoint_files.weight_files_of`.
        name: the hub name if the folder was downloaded; `_old` in it indicates the layout.

    Raises:
        CheckpointError: as in `read_config`, `WeightFiles` and `check_fit`.
    """
    config = read_config(fields, folder / CONFIG)
    weights = WeightFiles([file])
    check_depth(config.n_layers, weights)
    model = empty_model(config)
    names = [n for n in weights.headers if not _BUFFER.fullmatch(n)]
    is_old = _is_old(fields, name or str(folder.absolute()), file, names)

    def named(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Give tensors our names, and add those that this format leaves out."""
        tensors = _from_old(tensors, config.n_layers) if is_old else tensors
        parameters = model.state_dict()
        device = next(iter(tensors.values())).device if tensors else "meta"
        if "unembed.b_U" not in tensors:  # in some published files; TransformerLens uses zeros as well
            tensors["unembed.b_U"] = torch.zeros(parameters["unembed.b_U"].shape, device=device)
        if _normalization(fields) == "LNPre":
            tensors |= _folded_norms(parameters, tensors, device)
        return tensors

    headers = named({n: weights.headers[n] for n in names})
    check_fit(model.state_dict(), headers, file, _hint(config, headers))
    assign(model, named(weights.read(names)))
    if fields["act_fn"] == "gelu":
        _log.info(
            "%s: GELU runs in its tanh form, as the published models were trained; "
            "TransformerLens runs the exact form, up to 4.7e-4 away in hook_post",
            folder,
        )
    return model


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


def _is_old(fields: Mapping[str, Any], name: str, file: Path, tensors: Iterable[str]) -> bool:
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


def _folded_norms(
    parameters: Mapping[str, Tensor], tensors: Mapping[str, Tensor], device: torch.device | str
) -> dict[str, Tensor]:
    """Return w = 1 and b = 0 for each norm that an LNPre file omits entirely; half a norm is an error."""
    absent = [n for n in parameters if _NORM.fullmatch(n) and n not in tensors]
    present = {n.rpartition(".")[0] for n in tensors if _NORM.fullmatch(n)}
    return {
        n: torch.full(parameters[n].shape, float(n.endswith(".w")), device=device)
        for n in absent
        if n.rpartition(".")[0] not in present
    }


def _hint(config: SoluConfig, tensors: Mapping[str, Tensor]) -> str:
    """Return the probable cause if the weights do not fit the configuration; empty without one."""
    if config.act_fn in ("solu", "gelu") and "blocks.0.mlp.ln.w" in tensors:
        return f"act_fn {config.act_fn!r} has no LayerNorm after it, but the file holds one: is it solu_ln?"
    if not config.final_rms and "ln_final.w" in tensors and "ln_final.b" not in tensors:
        return "A final norm with a weight and no bias is RMS: is final_rms true?"
    return ""
