"""Similar neurons by a chosen measure, each with the tokens of its peaks and a link."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import streamlit as st

from analysis.similarity import top_neurons
from cache.format.schema import CacheError
from dashboard.neuron import similar_neurons as similar
from dashboard.neuron.service import NeuronFacts
from dashboard.neuron.similar_neurons import Measure
from dashboard.shared.address import Address
from dashboard.shared.catalog import ModelError
from dashboard.shared.components.bar_list import Column, Row, bar_list
from dashboard.shared.error_message import show_error
from dashboard.shared.messages import plain
from dashboard.shared.place import Place
from dashboard.shared.provenance import provenance_line

N_ALIKE, N_OPPOSED = 15, 5
"""Numbers of neurons shown: the most similar, and the most opposite for measures that can be negative."""

_MEASURES: dict[Measure, str] = {
    "tokens": "the tokens they fire on",
    "activation": "activation on the same text",
    "out": "W_out: what they write",
    "in": "W_in: what they read",
}


@dataclass(frozen=True)
class _Similar:
    """A neuron and its similarity score."""

    place: Place
    score: float


def draw(place: Place, facts: NeuronFacts) -> None:
    """Draw the choice of measure, model and layer, and the similar neurons."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        measure = st.selectbox(
            "Similar by", list(_MEASURES), format_func=_MEASURES.__getitem__, key="similar_by",
            persist_state="session", label_visibility="collapsed", width=230,
        )  # fmt: skip
        among = _model_choice(place) if measure == "activation" else place
        others = _layer_choice(place, among)
    try:
        alike, opposed = _search(place, measure, others)
    except (ModelError, CacheError) as error:
        show_error("The neurons cannot be compared", error)
        return
    st.caption(_measure_in_words(place, measure, among))
    other_model = "" if among.model == place.model else f" in {among.model.name}"
    several = len(others) > 1 or bool(other_model)
    bar_list(
        [Column(f"most similar{other_model}", _rows(alike, several))], key="similar_alike", open_address=_open
    )
    if opposed:
        rows = _rows(opposed, several)
        bar_list([Column(f"most opposite{other_model}", rows)], key="similar_opposed", open_address=_open)
    if not alike and not opposed:
        st.caption("No neuron is similar by this measure.")
    st.caption(plain(provenance_line(place)))


def _model_choice(place: Place) -> Place:
    """Ask for the model to search: this one, or one with the same tokenizer."""
    others = {other.model.name: other for other in similar.comparable_models(place)}
    if not others:
        return place
    name = st.selectbox(
        "Neurons of", [place.model.name, *others], key=f"similar_model_{place.model.name}",
        persist_state="session", label_visibility="collapsed", width=150,
    )  # fmt: skip
    return others.get(name, place)


def _layer_choice(place: Place, among: Place) -> list[Place]:
    """Ask for the layers to search."""
    layers = among.cache.layers
    choices = {f"layer {layer}": [replace(among, layer=layer)] for layer in layers}
    if len(layers) == 1:
        return choices[f"layer {layers[0]}"]
    if among.model == place.model:
        choices = {"its layer": [place]} | choices
    choices["all layers"] = [replace(among, layer=layer) for layer in layers]
    chosen = st.selectbox(
        "Layers", list(choices), key=f"similar_layer_{among.model.name}", persist_state="session",
        label_visibility="collapsed", width=110,
    )  # fmt: skip
    return choices[chosen]


def _search(place: Place, measure: Measure, others: Sequence[Place]) -> tuple[list[_Similar], list[_Similar]]:
    """Return the most similar and the most opposite neurons of all layers, and show the progress."""
    progress = st.empty()
    alike: list[_Similar] = []
    opposed: list[_Similar] = []
    for done, other in enumerate(others):

        def report(share: float, done: int = done) -> None:
            text = "Running a sample of the corpus through the model, once for each layer…"
            progress.progress(min(1.0, (done + share) / len(others)), text)

        scores = similar.scores(place, measure, other, report)
        itself = place.neuron if (other.model, other.layer) == (place.model, place.layer) else None
        for results, n, lowest in ((alike, N_ALIKE, False), (opposed, N_OPPOSED, True)):
            for neuron in top_neurons(scores, n, without=itself, lowest=lowest):
                results.append(_Similar(replace(other, neuron=neuron), float(scores[neuron])))
    progress.empty()
    alike = sorted(alike, key=lambda similar: -similar.score)[:N_ALIKE]
    opposed = sorted(opposed, key=lambda similar: similar.score)[:N_OPPOSED]
    return [s for s in alike if s.score > 0], [s for s in opposed if s.score < 0]


def _rows(results: Sequence[_Similar], several: bool) -> list[Row]:
    return [
        Row(
            label=f"{f.place.layer} · {f.place.neuron}" if several else f"neuron {f.place.neuron}",
            value=f.score,
            number=f"{f.score:.3f}",
            detail=similar.peaks_of(f.place, f.place.neuron),
            address=f.place.address,
        )
        for f in results
    ]


def _open(address: Address) -> None:
    st.query_params.from_dict(address.params())


def _measure_in_words(place: Place, measure: Measure, among: Place) -> str:
    if measure == "tokens":
        return "Share of the strongest examples whose peaks are on the same tokens, repeats included."
    if measure == "activation":
        hooks = place.hook if among.hook == place.hook else f"{place.hook} here, {among.hook} there"
        n_tokens = similar.compared_tokens(place, among)
        return f"Correlation of {hooks} over {n_tokens:,} tokens in whole contexts, drawn from the corpus."
    if measure == "out":
        return "Cosine of the rows of W_out: 1 writes the same to the residual stream, -1 its opposite."
    return "Cosine of the columns of W_in: 1 reads the same from the residual stream, -1 its opposite."
