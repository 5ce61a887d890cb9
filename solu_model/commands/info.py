"""The command `solu info`: the properties of a checkpoint."""

from rich.console import Console
from rich.table import Table

from solu_model.commands.options import ModelOption, TokenizerOption

_SIZES = (
    "model_type",
    "act_fn",
    "n_layers",
    "d_model",
    "n_mlp_blocks",
    "n_heads",
    "d_head",
    "d_mlp",
    "n_ctx",
    "d_vocab",
)


def info(
    model: ModelOption,
    tokenizer_path: TokenizerOption = None,
) -> None:
    """Show a checkpoint's shape, arithmetic, parameters and tokenizer.

    Of another causal model it also shows the logit effects that were measured; of a SoLU model, the backend
    of its activation on this machine.
    """
    from torch import nn

    from solu_model.activation import backend_name
    from solu_model.loading.adapters import AdaptedModel, load_any_model
    from solu_model.loading.checkpoint_files import CheckpointError
    from solu_model.loading.checkpoints import with_tokenizer
    from solu_model.model import SoluForCausalLM

    network, found = load_any_model(model)
    table = Table(show_header=False)
    for name in _SIZES:
        if hasattr(network.config, name):
            table.add_row(name, str(getattr(network.config, name)))
    module = network.model if isinstance(network, AdaptedModel) else network
    if isinstance(module, nn.Module):
        table.add_row("parameters", f"{sum(p.numel() for p in module.parameters()):,}")
    names = [file.name for file in found.weights]
    table.add_row("weights", names[0] if len(names) == 1 else f"{len(names)} files, {names[0]} ...")
    if isinstance(network, AdaptedModel):
        measured = network.measured
        effects = f"none: {measured.refusal}"
        if not measured.refusal:
            effects = f"from the weights; an ablation differs by {measured.error:.1g}"
        table.add_row("logit effects", effects)
    if isinstance(network, SoluForCausalLM):
        table.add_row("activation backend", backend_name("cpu"))
    try:
        tokenizer = f"{len(with_tokenizer(network, found, tokenizer_path, model))} tokens"
    except CheckpointError as error:
        if tokenizer_path is not None:
            raise
        tokenizer = f"none: {error}"
    table.add_row("tokenizer", tokenizer)
    Console().print(table)
