"""Names of hooks and of kinds of examples as people read them."""

HOOK_LABELS = {"hook_mid": "before LayerNorm", "hook_post": "after LayerNorm"}

VIEW_LABELS = {"top": "strongest", "ranges": "sampled by range", "bottom": "weakest"}
"""Kinds of examples, by the value of `view` in an address."""


def hook_title(hook: str, has_norm: bool) -> str:
    """Return the title of a figure of one hook.

    Args:
        hook: `hook_mid` or `hook_post`.
        has_norm: the model has a LayerNorm after the activation, so that there are two hooks.
    """
    return f"{HOOK_LABELS[hook] if has_norm else 'after the activation'} · {hook}"
