"""What a figure is of, in one line: checkpoint, corpus, hook and precision. Pure."""

from collections.abc import Sequence

from dashboard.shared.place import Place


def provenance_line(place: Place, hooks: Sequence[str] = ()) -> str:
    """For under a figure or in a download; plain text, not Markdown.

    Args:
        hooks: those that the figure shows, where it is not the place's alone.
    """
    manifest = place.cache.manifest
    corpus, model = manifest.corpus, manifest.model
    shown = " and ".join(hooks or [place.hook])
    return (
        f"{model.name} (SHA-256 {model.sha256[:12]}), layer {place.layer}, neuron {place.neuron}, "
        f"{shown}, {corpus.n_tokens:,} tokens of {', '.join(corpus.names)}, {manifest.dtype}"
    )
