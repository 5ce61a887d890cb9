"""The model that a build runs, its tokenizer, and the settings of the cache that follow from them.

No other module of the package runs a model.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cache.format.schema import NEURONS_PER_PART, CacheError, Hook, ModelRecord, TokenizationRecord
from cache.shards.settings import Settings
from cache.statistics.accumulator import MAX_CONTEXT
from cache.statistics.example_lists import SAMPLE_WINDOW, WINDOW, Window
from solu_model.loading.adapters import load_neuron_model
from solu_model.loading.checkpoint_files import weights_hash
from solu_model.protocols import NeuronModel
from solu_model.text.contexts import Context
from solu_model.text.documents import CorpusOptions
from solu_model.text.tokenization import Tokenization


@dataclass(frozen=True)
class Options:
    """Options of a build: sizes of the cache, and how to run. Defaults are those of `solu cache build`."""

    sample: float = 1.0
    """Share of the documents to read."""
    seed: int = 0
    """Seed of that share and of every sample in the cache."""
    bos: str | None = None
    """First token of every context, see `Tokenization.of`."""
    n_ctx: int | None = None
    """Longest context in tokens, the BOS included; the model's where None."""
    layers: tuple[int, ...] | None = None
    """Layers to read; all of them where None."""
    top_k: int = 20
    """Number of strongest and of weakest examples of each neuron and hook."""
    range_samples: int = 5
    """Tokens sampled from each range of activation."""
    window: Window = WINDOW
    """Tokens kept around a strongest example's peak."""
    sample_window: Window = SAMPLE_WINDOW
    """Tokens kept around the token of a weakest or sampled example."""
    by_token: bool = True
    """Keep the tokens of highest mean activation: 8 bytes of memory for each neuron, hook and token."""
    token_min_count: int = 10
    """Least number of occurrences of a token that is ranked by its mean activation."""
    sample_tokens: int = 1_000_000
    """Most tokens in the sample of contexts, which is drawn regardless of activation."""
    n_threads: int | None = None
    """Documents read at the same time; where None one for each core. Always 1 on a GPU. The cache does not
    depend on it."""
    batch_size: int | None = None
    """Most contexts in a forward pass, all of one length; where None 1 on a CPU and 32 on a GPU."""
    device: str | None = None
    """`cpu`, `cuda` or `cuda:1`, or `auto` for all of them; where None a GPU if there is one."""
    dtype: str = "float32"
    """Number format of the model: `float32`, `bfloat16` or `float16`. Activations are counted in float32."""
    save_every: float = 180.0
    """Seconds between saved states."""
    text: CorpusOptions = field(default_factory=CorpusOptions)
    """The part of the corpus paths that is text."""


class Engine:
    """A model with its tokenizer, ready to compute the activations of contexts.

    Args:
        model_path: a checkpoint folder: of this package, of TransformerLens, or of another causal model.
        options: of the build.
        tokenizer_path: a tokenizer in place of the checkpoint's own.

    Raises:
        CheckpointError: there is no such device or dtype, or the model cannot be read.
        TokenizerError: its tokenizer fails or is another model's, or the BOS is not determined.
        CacheError: the model lacks a layer of the options, or contexts are longer than `MAX_CONTEXT`.
    """

    def __init__(
        self, model_path: Path, options: Options, *, tokenizer_path: str | Path | None = None
    ) -> None:
        self.options = options
        device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.model: NeuronModel
        self.model, self.tokenizer = load_neuron_model(
            model_path, tokenizer=tokenizer_path, device=device, dtype=options.dtype
        )
        self.device = str(self.model.device)
        config = self.model.config
        self.tokenization = Tokenization.of(config, self.tokenizer, bos=options.bos, n_ctx=options.n_ctx)
        # A context without a BOS is counted as one with a lead position, see `cache.building.workers`.
        if (longest := self.tokenization.room + 1) > MAX_CONTEXT:
            raise CacheError(
                f"contexts of at most {MAX_CONTEXT} tokens can be counted, got {longest}: cut them (--n-ctx)"
            )
        layers = list(range(config.n_layers)) if options.layers is None else sorted(set(options.layers))
        if not layers or layers[0] < 0 or layers[-1] >= config.n_layers:
            raise CacheError(f"expected layers from 0 to {config.n_layers - 1}, got {layers}")
        # Without the extra LayerNorm the two hooks have the same activations.
        hooks: list[Hook] = ["hook_mid", "hook_post"] if config.has_mlp_norm else ["hook_post"]
        self.settings = Settings(
            model=ModelRecord(
                name=model_path.resolve().name,
                sha256=weights_hash(model_path),
                act_fn=config.act_fn,
                n_layers=config.n_layers,
                d_model=config.d_model,
                d_mlp=config.d_mlp,
                n_ctx=config.n_ctx,
                d_vocab=config.d_vocab,
                tokenizer=self.tokenization.sha256,
            ),
            tokenization=TokenizationRecord(bos_id=self.tokenization.bos_id, n_ctx=self.tokenization.n_ctx),
            layers=layers,
            hooks=hooks,
            dtype=options.dtype,
            device=self.device.partition(":")[0],  # without the index: shards of any GPU are equal
            sample=options.sample,
            seed=options.seed,
            top_k=options.top_k,
            range_samples=options.range_samples,
            window=options.window,
            sample_window=options.sample_window,
            by_token=options.by_token,
            token_min_count=options.token_min_count,
            sample_tokens=options.sample_tokens,
            neurons_per_part=NEURONS_PER_PART,
            # Other versions may round activations differently, so their shards must not be merged.
            versions={name: version(name) for name in ("torch", "numpy", "numba", "tokenizers")},
        )
        self.points: dict[str, tuple[int, Hook]] = {
            f"blocks.{layer}.mlp.{hook}": (layer, hook) for layer in layers for hook in hooks
        }
        """Layer and hook of each activation that a build reads, by the model's name for it."""

    @property
    def batch_size(self) -> int:
        """Most contexts in a forward pass, all of one length."""
        return self.options.batch_size or (1 if self.device == "cpu" else 32)

    def run(self, contexts: Sequence[Context], visit: Callable[[str, Tensor], None]) -> None:
        """Run one forward pass, which ends at the last hook that is read.

        A layer's activations are visited before the next layer runs. So memory does not grow with the number
        of layers, and the activations are still in the CPU's cache when they are counted.

        Args:
            contexts: of equal length. Without padding, the activations of one do not depend on the others.
            visit: called with each of `points` and its activations `[B, T, M]`, on the model's device, in
                the order of the forward pass.
        """
        tokens = torch.from_numpy(np.stack([c.tokens for c in contexts])).to(self.device)
        with torch.inference_mode():
            self.model.activations(tokens, self.points, visit=visit)
