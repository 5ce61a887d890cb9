"""Transformers with softmax linear units: models, checkpoints, text, training, effects of neurons.

    from solu_model import ablation_effects, direct_logit_effects, encode_texts, load_checkpoint

    model, tokenizer = load_checkpoint("models/solu-1l")
    tokens = tokenizer("the lamp was lit", return_tensors="pt").input_ids  # [1, T], BOS first
    logits, acts = model.run_with_cache(tokens, ["blocks.0.mlp.hook_mid", "blocks.0.mlp.hook_post"])
    acts["blocks.0.mlp.hook_mid"].shape  # [1, T, d_mlp]: activations before LayerNorm
    effect = direct_logit_effects(model, layer=0, neurons=[539])[0]  # [d_vocab]
    change = ablation_effects(model, tokens, layer=0, neuron=539)  # [1, T, d_vocab]

`load_checkpoint` opens models of this package, `load_neuron_model` any checkpoint whose neurons can be
cached; all commands and pages go through these two.

The names in `__all__` are the public interface; training has its own in `solu_model.training`. A name is
imported when it is first used, so `import solu_model`, and reading a corpus, import no torch. After
`import solu_model`, transformers' auto classes and pipelines open SoLU models too.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from solu_model.auto_classes import register_auto_classes

if TYPE_CHECKING:
    from solu_model.activation import backend_name, exp_ln, exp_unit, solu, solu_ln
    from solu_model.config import SoluConfig
    from solu_model.evaluation.held_out_loss import evaluate
    from solu_model.evaluation.losses import Loss, Losses
    from solu_model.loading.adapters import adapt, load_neuron_model
    from solu_model.loading.checkpoints import (
        CheckpointError,
        load_checkpoint,
        load_tokenizer,
        load_with_tokenizer,
        save_checkpoint,
    )
    from solu_model.loading.exponential_models import to_solu_ln
    from solu_model.loading.transformerlens import save_transformerlens
    from solu_model.logit_effects import (
        ablation_effects,
        direct_effects_on_token,
        direct_logit_effects,
        final_scale,
        logits_with_and_without,
    )
    from solu_model.model import SoluForCausalLM
    from solu_model.protocols import NeuronModel, OutputPath
    from solu_model.text.contexts import Context, document_contexts
    from solu_model.text.display_pieces import Piece, display_pieces
    from solu_model.text.documents import CorpusError, CorpusOptions, Document, read_documents
    from solu_model.text.token_bytes import vocabulary_bytes
    from solu_model.text.tokenization import Tokenization
    from solu_model.text.tokenizer import encode_texts, tokenizer_hash, train_tokenizer
    from solu_model.text.tokenizer_error import TokenizerError

_NAMES_BY_MODULE = {
    "activation": ("backend_name", "exp_ln", "exp_unit", "solu", "solu_ln"),
    "config": ("SoluConfig",),
    "evaluation.held_out_loss": ("evaluate",),
    "evaluation.losses": ("Loss", "Losses"),
    "loading.adapters": ("adapt", "load_neuron_model"),
    "loading.checkpoints": (
        "CheckpointError",
        "load_checkpoint",
        "load_tokenizer",
        "load_with_tokenizer",
        "save_checkpoint",
    ),
    "loading.exponential_models": ("to_solu_ln",),
    "loading.transformerlens": ("save_transformerlens",),
    "logit_effects": (
        "ablation_effects",
        "direct_effects_on_token",
        "direct_logit_effects",
        "final_scale",
        "logits_with_and_without",
    ),
    "model": ("SoluForCausalLM",),
    "protocols": ("NeuronModel", "OutputPath"),
    "text.contexts": ("Context", "document_contexts"),
    "text.display_pieces": ("Piece", "display_pieces"),
    "text.documents": ("CorpusError", "CorpusOptions", "Document", "read_documents"),
    "text.token_bytes": ("vocabulary_bytes",),
    "text.tokenization": ("Tokenization",),
    "text.tokenizer": ("encode_texts", "tokenizer_hash", "train_tokenizer"),
    "text.tokenizer_error": ("TokenizerError",),
}
_MODULE_OF_NAME = {name: module for module, names in _NAMES_BY_MODULE.items() for name in names}

# Written out, because type checkers and editors read it without running the module.
__all__ = [
    "CheckpointError",
    "Context",
    "CorpusError",
    "CorpusOptions",
    "Document",
    "Loss",
    "Losses",
    "NeuronModel",
    "OutputPath",
    "Piece",
    "SoluConfig",
    "SoluForCausalLM",
    "Tokenization",
    "TokenizerError",
    "ablation_effects",
    "adapt",
    "backend_name",
    "direct_effects_on_token",
    "direct_logit_effects",
    "display_pieces",
    "document_contexts",
    "encode_texts",
    "evaluate",
    "exp_ln",
    "exp_unit",
    "final_scale",
    "load_checkpoint",
    "load_neuron_model",
    "load_tokenizer",
    "load_with_tokenizer",
    "logits_with_and_without",
    "read_documents",
    "save_checkpoint",
    "save_transformerlens",
    "solu",
    "solu_ln",
    "to_solu_ln",
    "tokenizer_hash",
    "train_tokenizer",
    "vocabulary_bytes",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF_NAME:
        raise AttributeError(f"module 'solu_model' has no attribute {name!r}")
    value = getattr(import_module(f"solu_model.{_MODULE_OF_NAME[name]}"), name)
    globals()[name] = value  # the next use finds it without this function
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


register_auto_classes()
