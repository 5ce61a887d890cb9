"""Which checkpoint, corpus, hook and precision the figures are of."""

import streamlit as st

from dashboard.messages import plain, share
from dashboard.services.neurons import NeuronFacts
from dashboard.services.places import Place


def draw(place: Place, facts: NeuronFacts) -> None:
    """In words."""
    moments = facts.moments[place.hook]
    manifest = place.cache.manifest
    corpus = manifest.corpus
    read = "all of" if corpus.sample == 1 else f"a sample of {share(corpus.sample)} (seed {corpus.seed}) of"
    checked = (
        "" if place.model.weights.is_file() else " No checkpoint is beside the cache to check it against."
    )
    st.caption(
        f"{moments.count:,} tokens of {corpus.n_documents:,} documents: {read} "
        f"{plain(', '.join(corpus.names))}. "
        f"Checkpoint {plain(manifest.model.name)}, SHA-256 `{manifest.model.sha256[:12]}`, "
        f"{manifest.model.act_fn}, forward pass in {manifest.dtype}. "
        f"The BOS is not counted; at most one example a document.{checked}"
    )
