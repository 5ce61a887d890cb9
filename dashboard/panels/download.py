"""The neuron as files. Each is made when it is asked for."""

from collections.abc import Callable
from functools import partial

import streamlit as st

from dashboard.annotations import AnnotationError
from dashboard.exports.figures import histogram_figure
from dashboard.exports.neuron_record import Record, file_name, neuron_record, provenance_text
from dashboard.exports.page import neuron_page
from dashboard.exports.tables import examples_to_csv, examples_to_parquet, histograms_to_csv, to_json
from dashboard.messages import plain
from dashboard.services import annotations
from dashboard.services.neurons import NeuronFacts
from dashboard.services.places import Place


def draw(place: Place, facts: NeuronFacts) -> None:
    """Buttons, in three rows by what the file is for."""

    def record() -> Record:
        try:
            said = annotations.of_neuron(place)
        except AnnotationError:
            said = []
        return neuron_record(place.cache, place.model.name, place.layer, place.neuron, said)

    def written(write: Callable[[Record], bytes]) -> bytes:
        return write(record())

    def page() -> str:
        return neuron_page(record(), facts.bars, place.hook)

    def figure(kind: str) -> bytes:
        found = record()
        title = f"{place.model.name}, layer {place.layer}, neuron {place.neuron}"
        return histogram_figure(facts.bars, title, provenance_text(found), "svg" if kind == "svg" else "png")

    name = partial(file_name, {"model": place.model.name, "layer": place.layer, "neuron": place.neuron})
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.caption("To read and pass on", width=150)
        _button("Page (HTML)", page, name(".html"), "text/html")
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.caption("Histograms for a paper", width=150)
        _button("SVG", partial(figure, "svg"), name("-histograms.svg"), "image/svg+xml")
        _button("PNG", partial(figure, "png"), name("-histograms.png"), "image/png")
        _button("Counts (CSV)", partial(written, histograms_to_csv), name("-histograms.csv"), "text/csv")
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.caption("Examples to compute with", width=150)
        _button("CSV", partial(written, examples_to_csv), name("-examples.csv"), "text/csv")
        _button(
            "Parquet", partial(written, examples_to_parquet), name("-examples.parquet"),
            "application/vnd.apache.parquet",
        )  # fmt: skip
        _button("Everything (JSON)", partial(written, to_json), name(".json"), "application/json")
    st.caption(
        f"All hooks; the page shows the examples of {plain(place.hook)}. Every file says which checkpoint "
        "(SHA-256), corpus, precision and versions it is of."
    )


def _button(label: str, make: Callable[[], bytes | str], file: str, mime: str) -> None:
    st.download_button(
        label, make, file, mime, key=f"download_{file}", icon=":material/download:", on_click="ignore",
        help=plain(file),
    )  # fmt: skip
