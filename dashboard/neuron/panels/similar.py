"""Neurons like this one, by what one chooses, each with the tokens of its peaks and the way to it."""

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
from dashboard.shared.error_message import show_problem
from dashboard.shared.messages import plain
from dashboard.shared.place import Place
from dashboard.shared.provenance import provenance_line

N_ALIKE, N_OPPOSED = 15, 5
"""Neurons shown: the most alike, and where a score can be negative the most opposed."""

_MEASURES: dict[Measure, str] = {
    "tokens": "the tokens they fire on",
    "activation": "activation on the same text",
    "out": "W_out: what they write",
    "in": "W_in: what they read",
}


@dataclass(frozen=True)
class _Found:
    """A neuron and how alike it is."""

    place: Place
    score: float


def draw(place: Place, facts: NeuronFacts) -> None:
    """The choices and the neurons they find."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        measure = st.selectbox(
            "Alike by", list(_MEASURES), format_func=_MEASURES.__getitem__, key="similar_by",
            persist_state="session", label_visibility="collapsed", width=230,
        )  # fmt: skip
        among = _model_choice(place) if measure == "activation" else place
        others = _layer_choice(place, among)
    try:
        alike, opposed = _search(place, measure, others)
    except (ModelError, CacheError) as error:
        show_problem("The neurons cannot be compared", error)
        return
    st.caption(_what_it_is(place, measure, among))
    where = "" if among.model == place.model else f" in {among.model.name}"
    several = len(others) > 1 or bool(where)
    bar_list([Column(f"most alike{where}", _rows(alike, several))], key="similar_alike", open_address=_open)
    if opposed:
        rows = _rows(opposed, several)
        bar_list([Column(f"most opposed{where}", rows)], key="similar_opposed", open_address=_open)
    if not alike and not opposed:
        st.caption("No neuron is at all alike.")
    st.caption(plain(provenance_line(place)))


def _model_choice(place: Place) -> Place:
    """A layer of the model whose neurons are compared: this one, or one that reads the same tokens."""
    others = {other.model.name: other for other in similar.comparable_models(place)}
    if not others:
        return place
    name = st.selectbox(
        "Neurons of", [place.model.name, *others], key=f"similar_model_{place.model.name}",
        persist_state="session", label_visibility="collapsed", width=150,
    )  # fmt: skip
    return others.get(name, place)


def _layer_choice(place: Place, among: Place) -> list[Place]:
    """The layers that are searched."""
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


def _search(place: Place, measure: Measure, others: Sequence[Place]) -> tuple[list[_Found], list[_Found]]:
    """The most alike and the most opposed of all layers, layer by layer, with a bar while the model runs."""
    shown = st.empty()
    alike: list[_Found] = []
    opposed: list[_Found] = []
    for done, other in enumerate(others):

        def report(share: float, done: int = done) -> None:
            text = "Running a sample of the corpus through the model, once for each layer…"
            shown.progress(min(1.0, (done + share) / len(others)), text)

        scores = similar.scores(place, measure, other, report)
        itself = place.neuron if (other.model, other.layer) == (place.model, place.layer) else None
        for found, n, lowest in ((alike, N_ALIKE, False), (opposed, N_OPPOSED, True)):
            for neuron in top_neurons(scores, n, without=itself, lowest=lowest):
                found.append(_Found(replace(other, neuron=neuron), float(scores[neuron])))
    shown.empty()
    alike = sorted(alike, key=lambda found: -found.score)[:N_ALIKE]
    opposed = sorted(opposed, key=lambda found: found.score)[:N_OPPOSED]
    return [found for found in alike if found.score > 0], [found for found in opposed if found.score < 0]


def _rows(found: Sequence[_Found], several: bool) -> list[Row]:
    return [
        Row(
            label=f"{f.place.layer} · {f.place.neuron}" if several else f"neuron {f.place.neuron}",
            value=f.score,
            number=f"{f.score:.3f}",
            detail=similar.peaks_of(f.place, f.place.neuron),
            address=f.place.address,
        )
        for f in found
    ]


def _open(address: Address) -> None:
    st.query_params.from_dict(address.params())


def _what_it_is(place: Place, measure: Measure, among: Place) -> str:
    if measure == "tokens":
        return "Share of the strongest examples that peak on the same tokens, as often."
    if measure == "activation":
        hooks = place.hook if among.hook == place.hook else f"{place.hook} here, {among.hook} there"
        n_tokens = similar.compared_tokens(place, among)
        return f"Correlation of {hooks} over {n_tokens:,} tokens in whole contexts, drawn from the corpus."
    if measure == "out":
        return "Cosine of the rows of W_out: 1 writes the same to the residual stream, -1 its opposite."
    return "Cosine of the columns of W_in: 1 reads the same from the residual stream, -1 its opposite."
