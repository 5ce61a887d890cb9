"""Downloads of the neuron. A file is made when its button is pressed."""

from collections.abc import Callable
from functools import partial

import pyarrow as pa
import streamlit as st

from dashboard.neuron.exports.html_page import neuron_page
from dashboard.neuron.exports.layer_table import layer_table, layer_to_csv, layer_to_parquet
from dashboard.neuron.exports.neuron_record import Record, file_name, neuron_record, provenance_text
from dashboard.neuron.exports.tables import examples_to_csv, examples_to_parquet, histograms_to_csv, to_json
from dashboard.neuron.service import NeuronFacts
from dashboard.shared.annotations import service as annotations
from dashboard.shared.annotations.content import AnnotationError
from dashboard.shared.messages import plain
from dashboard.shared.paper_figures import histogram_figure
from dashboard.shared.place import Place

_PARQUET = "application/vnd.apache.parquet"


def draw(place: Place, facts: NeuronFacts) -> None:
    """Draw the buttons, in rows by the use of the file."""

    # Read now: a download runs later, without a session, and would not know whose labels come first.
    labels = annotations.of_layer(place.model, place.layer)
    try:
        of_neuron = annotations.of_neuron(place)
    except AnnotationError:
        of_neuron = []

    def record() -> Record:
        return neuron_record(place.cache, place.model.name, place.layer, place.neuron, of_neuron)

    def written(write: Callable[[Record], bytes]) -> bytes:
        return write(record())

    def page() -> str:
        return neuron_page(record(), facts.bars, place.hook)

    def figure(kind: str) -> bytes:
        title = f"{place.model.name}, layer {place.layer}, neuron {place.neuron}"
        return histogram_figure(
            facts.bars, title, provenance_text(record()), "svg" if kind == "svg" else "png"
        )

    def layer(write: Callable[[pa.Table], bytes]) -> bytes:
        return write(layer_table(place.cache, place.model.name, place.layer, place.hook, labels))

    def name(ending: str) -> str:
        return file_name(place.model.name, place.layer, f"N{place.neuron}{ending}")

    whole = file_name(place.model.name, place.layer, f"{place.hook}-neurons")
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
            _PARQUET,
        )  # fmt: skip
        _button("Everything (JSON)", partial(written, to_json), name(".json"), "application/json")
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.caption("All neurons of the layer", width=150)
        _button("List (CSV)", partial(layer, layer_to_csv), f"{whole}.csv", "text/csv")
        _button("List (Parquet)", partial(layer, layer_to_parquet), f"{whole}.parquet", _PARQUET)
    st.caption(
        f"Files hold all hooks; the page and the list show {plain(place.hook)}. Every file names its "
        "checkpoint (SHA-256), corpus, precision and versions."
    )


def _button(label: str, make: Callable[[], bytes | str], file: str, mime: str) -> None:
    st.download_button(
        label, make, file, mime, key=f"download_{file}", icon=":material/download:", on_click="ignore",
        help=plain(file),
    )  # fmt: skip
