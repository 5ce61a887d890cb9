"""What the hooks are called where people read, and the colours that they have in figures."""

HOOK_LABELS = {"hook_mid": "before LayerNorm", "hook_post": "after LayerNorm"}


def hook_title(hook: str, has_norm: bool) -> str:
    """A hook over a figure, in a model with or without the LayerNorm after the activation."""
    if not has_norm:
        return f"after the activation · {hook}"
    return f"{'before' if hook == 'hook_mid' else 'after'} the LayerNorm · {hook}"
