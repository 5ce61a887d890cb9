"""What a figure is of, in one line: checkpoint, corpus, hook and precision. Pure."""

from dashboard.services.places import Place


def provenance_line(place: Place) -> str:
    """For under a figure or in a download; plain text, not Markdown."""
    manifest = place.cache.manifest
    corpus, model = manifest.corpus, manifest.model
    return (
        f"{model.name} (SHA-256 {model.sha256[:12]}), layer {place.layer}, neuron {place.neuron}, "
        f"{place.hook}, {corpus.n_tokens:,} tokens of {', '.join(corpus.names)}, {manifest.dtype}"
    )
