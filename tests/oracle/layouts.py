"""Write checkpoints with invented weights in every layout of the TransformerLens format, at small widths.

`write_checkpoint` writes the files of the published repositories: config.json and a state dict with the
names, orientation, missing tensors and buffers of that layout. The weights come from integer arithmetic, so
they are the same on every machine and in every version of torch and numpy; golden outputs stay valid.
"""

import json
import zlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch


@dataclass(frozen=True)
class Layout:
    """The layout of one published repository."""

    repository: str
    n_layers: int
    d_model: int
    n_heads: int
    d_vocab: int
    act_fn: str = "solu_ln"
    normalization: str = "LN"
    norms_folded: bool = False
    """LNPre without norm weights in the file; the published files hold them."""
    final_rms: bool = False
    old: bool = False
    b_u: bool = True
    """True if the file holds unembed.b_U."""
    buffers: bool = True
    n_ctx: int = 1024
    d_head: int = 64
    small: bool = False
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def d_mlp(self) -> int:
        """Number of neurons: four times d_model in all published models."""
        return 4 * self.d_model

    @property
    def name(self) -> str:
        """Name in tables and golden files."""
        suffix = " folded" if self.norms_folded else ""
        return self.repository.partition("/")[2] + suffix


def _new(kind: str, n_layers: int, d_model: int, n_heads: int, data: str = "C4_Code") -> Layout:
    act_fn = "solu_ln" if kind == "SoLU" else "gelu"
    repository = f"NeelNanda/{kind}_{n_layers}L{d_model}W_{data}"
    return Layout(repository, n_layers, d_model, n_heads, 48262, act_fn, b_u=n_layers != 2)


def _old(n_layers: int, version: int, d_model: int, n_heads: int) -> Layout:
    return Layout(
        f"NeelNanda/SoLU_{n_layers}L_v{version}_old",
        n_layers,
        d_model,
        n_heads,
        50278,
        normalization="LNPre" if 2 <= n_layers <= 10 else "LN",
        final_rms=n_layers <= 6,
        old=True,
        b_u=n_layers % 4 != 0,
    )


PUBLISHED = [
    *[_new("SoLU", n, 512, 8) for n in (1, 2, 3, 4)],
    _new("SoLU", 6, 768, 12),
    _new("SoLU", 8, 1024, 16),
    _new("SoLU", 10, 1280, 20),
    _new("SoLU", 12, 1536, 24),
    *[_new("SoLU", n, 512, 8, "Wiki_Finetune") for n in (1, 4)],
    *[_new("GELU", n, 512, 8) for n in (1, 2, 3, 4)],
    _old(1, 9, 1024, 16),
    _old(2, 10, 736, 11),
    _old(4, 11, 512, 8),
    _old(6, 13, 768, 12),
    _old(8, 21, 1024, 16),
    _old(10, 22, 1280, 20),
    _old(12, 23, 1536, 24),
]
"""The published layouts at their real shapes. The choice of files without b_U is invented."""


def small(layout: Layout) -> Layout:
    """Return the layout at small widths: d_model 8, or 12 where 2 heads of 4 must not fill it."""
    filled = layout.d_head * layout.n_heads == layout.d_model
    # Where n_ctx equals d_model in the original, it does here: the shape cannot reveal that W_pos is
    # transposed.
    d_model = 8 if filled else 12
    n_ctx = d_model if layout.n_ctx == layout.d_model else 10
    return replace(layout, d_model=d_model, n_heads=2, d_head=4, d_vocab=24, n_ctx=n_ctx, small=True)


SMALL = [small(layout) for layout in PUBLISHED]
SMALL += [replace(layout, norms_folded=True) for layout in SMALL if layout.normalization == "LNPre"]


def config_fields(layout: Layout) -> dict[str, Any]:
    """Return the fields of a layout's config.json."""
    fields = {
        name: getattr(layout, name)
        for name in ("d_model", "n_layers", "d_mlp", "d_head", "n_heads", "n_ctx", "d_vocab", "act_fn")
    }
    key = "normalization" if layout.n_layers % 2 else "normalization_type"
    fields |= {"attn_only": False, key: layout.normalization, "tokenizer_name": None, "seed": 98742}
    fields |= {"final_rms": True} if layout.final_rms else {}
    fields |= {} if layout.old else {"shortformer_pos": False, "neuron_temp": 1.0, "neuron_scale": 1.0}
    return fields | layout.extra


def state_dict(layout: Layout) -> dict[str, torch.Tensor]:
    """Return the tensors of a layout's weights file, with its names and orientation."""
    D, M, V, H, K = layout.d_model, layout.d_mlp, layout.d_vocab, layout.n_heads, layout.d_head
    shapes: dict[str, tuple[int, ...]] = {"embed.W_E": (V, D), "pos_embed.W_pos": (layout.n_ctx, D)}
    norms = {"ln_final": D}
    for i in range(layout.n_layers):
        b = f"blocks.{i}."
        shapes |= {f"{b}attn.W_{x}": (H, D, K) for x in "QKV"} | {f"{b}attn.W_O": (H, K, D)}
        shapes |= {f"{b}attn.b_{x}": (H, K) for x in "QKV"} | {f"{b}attn.b_O": (D,)}
        shapes |= {
            f"{b}mlp.W_in": (D, M),
            f"{b}mlp.b_in": (M,),
            f"{b}mlp.W_out": (M, D),
            f"{b}mlp.b_out": (D,),
        }
        norms |= {f"{b}ln1": D, f"{b}ln2": D}
        if layout.act_fn == "solu_ln":
            norms[f"{b}mlp.ln"] = M
    shapes |= {"unembed.W_U": (D, V)} | ({"unembed.b_U": (V,)} if layout.b_u else {})
    if not layout.norms_folded:
        for norm, width in norms.items():
            shapes[f"{norm}.w"] = (width,)
            if not (norm == "ln_final" and layout.final_rms):
                shapes[f"{norm}.b"] = (width,)
    tensors = {name: torch.from_numpy(_values(layout, name, shape)) for name, shape in shapes.items()}
    if layout.buffers:
        for i in range(layout.n_layers):
            mask = torch.ones(layout.n_ctx, layout.n_ctx, dtype=torch.bool).tril()
            tensors |= {f"blocks.{i}.attn.mask": mask, f"blocks.{i}.attn.IGNORE": torch.tensor(-1e5)}
    return _to_old(tensors, layout.n_layers) if layout.old else tensors


def write_checkpoint(layout: Layout, folder: Path) -> None:
    """Write config.json and the final weights of a layout into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config_fields(layout)))
    stem = layout.repository.partition("/")[2].removesuffix("_old")
    torch.save(state_dict(layout), folder / (f"{stem}_final.pth" if layout.old else "model_final.pth"))


def tokens(layout: Layout) -> torch.Tensor:
    """Return token ids `[2, T]` to run a layout on, BOS first."""
    T = min(layout.n_ctx, 7 if layout.small else 24)
    ids = (_bits(f"{layout.name} tokens", 2 * T) % np.uint64(layout.d_vocab)).astype(np.int64).reshape(2, T)
    ids[:, 0] = 1
    return torch.from_numpy(ids)


def _to_old(tensors: dict[str, torch.Tensor], n_layers: int) -> dict[str, torch.Tensor]:
    """Convert new names and orientation to old ones: the inverse of the loader, written independently."""
    old = {}
    for name, tensor in tensors.items():
        *path, last = name.split(".")
        path = ["norm" if p in ("ln", "ln_final") else p.replace("ln", "norm") for p in path]
        if last.startswith("W_") and n_layers <= (8 if last == "W_pos" else 6):
            tensor = tensor.transpose(-2, -1).contiguous()
        old[".".join([*path, last])] = tensor
    return old


def _values(layout: Layout, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return uniform values around 0 (1 for a norm's weight) with the spread of initial weights."""
    x = (_bits(f"{layout.repository} {name}", int(np.prod(shape))) >> np.uint64(40)) / 2.0**24 * 2 - 1
    kind = name.rpartition(".")[2]
    if kind in ("w", "b") or kind.startswith("b_"):
        x = x * 0.3 + (kind == "w")
    else:
        fan_in = shape[-2] if kind not in ("W_E", "W_pos") else 1
        to_residual = (2 * layout.n_layers) ** -0.5 if kind in ("W_O", "W_out") else 1.0
        x = x * 3**0.5 * fan_in**-0.5 * to_residual
    return x.reshape(shape).astype(np.float32)


def _bits(seed: str, n: int) -> np.ndarray:
    """Return `n` 64-bit integers of splitmix64 from a seed."""
    with np.errstate(over="ignore"):
        z = np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z += np.uint64(zlib.crc32(seed.encode())) << np.uint64(17)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))
