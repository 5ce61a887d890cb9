"""The line under a figure: checkpoint, corpus, hook and precision."""

from collections.abc import Sequence

from dashboard.shared.place import Place


def provenance_line(place: Place, hooks: Sequence[str] = ()) -> str:
    """Return the line for under a figure or in a download: plain text, not Markdown.

    Args:
        hooks: the hooks that the figure shows; none: the place's hook alone.
    """
    manifest = place.cache.manifest
    corpus, model = manifest.corpus, manifest.model
    shown = " and ".join(hooks or [place.hook])
    return (
        f"{model.name} (SHA-256 {model.sha256[:12]}), layer {place.layer}, neuron {place.neuron}, "
        f"{shown}, {corpus.n_tokens:,} tokens of {', '.join(corpus.names)}, {manifest.dtype}"
    )
