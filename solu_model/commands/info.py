"""The command `solu info`: the properties of a checkpoint."""

from rich.console import Console
from rich.table import Table

from solu_model.commands.options import ModelOption, TokenizerOption


def info(
    model: ModelOption,
    tokenizer_path: TokenizerOption = None,
) -> None:
    """Show a checkpoint's shape, arithmetic and parameters, and the backend of its activation here."""
    from solu_model.activation import backend_name
    from solu_model.loading.checkpoints import load_checkpoint

    network, tokenizer = load_checkpoint(model, tokenizer=tokenizer_path)
    config = network.config
    table = Table(show_header=False)
    for name in (
        "act_fn",
        "n_layers",
        "d_model",
        "n_mlp_blocks",
        "n_heads",
        "d_head",
        "d_mlp",
        "n_ctx",
        "d_vocab",
    ):
        table.add_row(name, str(getattr(config, name)))
    table.add_row("parameters", f"{sum(p.numel() for p in network.parameters()):,}")
    table.add_row("activation backend", backend_name("cpu"))
    table.add_row("tokenizer", "none" if tokenizer is None else f"{len(tokenizer)} tokens")
    Console().print(table)
