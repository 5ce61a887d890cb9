"""The page of labels: everyone's labels, notes, stars and verdicts, to search, open, export and import."""

from functools import partial

import pandas as pd
import streamlit as st

from dashboard.labels.files import LARGEST, from_file, to_csv, to_json
from dashboard.shared import places
from dashboard.shared.address import Address
from dashboard.shared.annotations.content import VERDICTS, Annotation, AnnotationError
from dashboard.shared.annotations.open_store import open_store
from dashboard.shared.annotations.store import AnnotationStore
from dashboard.shared.error_message import show_error
from dashboard.shared.messages import plain
from dashboard.shared.page_paths import NEURON

_MOST_ROWS = 5_000  # of the table; a search reaches the others


def filtered(annotations: list[Annotation]) -> list[Annotation]:
    """Draw the filters, and return the annotations that pass them."""
    people = sorted({a.user for a in annotations})
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        text = st.text_input(
            "Search", key="labels_text", placeholder="in labels and notes", live="250ms",
            persist_state="session", width=260,
        )  # fmt: skip
        verdict = st.selectbox(
            "Verdict", VERDICTS, index=None, placeholder="any", key="labels_verdict",
            persist_state="session", width=180,
        )  # fmt: skip
        user = st.selectbox("By", people, index=None, placeholder="anyone", key="labels_user", width=160)
        starred = st.checkbox("Only starred", key="labels_starred", persist_state="session")
    wanted = (text or "").casefold()
    return [
        a
        for a in annotations
        if wanted in f"{a.content.label}\n{a.content.note}".casefold()
        and (verdict is None or a.content.verdict == verdict)
        and (user is None or a.user == user)
        and (a.content.star or not starred)
    ]


def table(annotations: list[Annotation], names: dict[str, str]) -> None:
    """Draw the annotations. Selecting a row opens its neuron.

    Args:
        names: of the models here, by the SHA-256 of their weights.
    """
    drawn = annotations[:_MOST_ROWS]
    rows = pd.DataFrame(
        {
            "model": [names.get(a.key.model_sha256, f"{a.model} (not here)") for a in drawn],
            "layer": [a.key.layer for a in drawn],
            "neuron": [a.key.neuron for a in drawn],
            "star": ["★" if a.content.star else "" for a in drawn],
            "label": [a.content.label for a in drawn],
            "verdict": [a.content.verdict for a in drawn],
            "note": [a.content.note for a in drawn],
            "by": [a.user for a in drawn],
            "changed": pd.to_datetime([a.changed for a in drawn], utc=True),
        }
    )
    event = st.dataframe(
        rows,
        # A new key after each visit to a neuron: else the old selection would open that neuron again.
        key=f"labels_{st.session_state.get('labels_visit', 0)}",
        hide_index=True,
        row_height=30,
        height=max(100, min(30 * (len(rows) + 1) + 9, 600)),
        on_select="rerun",
        selection_mode="single-row",
        column_config={
            "model": st.column_config.TextColumn(width=130),
            "layer": st.column_config.NumberColumn(width=60),
            "neuron": st.column_config.NumberColumn(width=70),
            "star": st.column_config.TextColumn(width=50),
            "label": st.column_config.TextColumn(width=260),
            "verdict": st.column_config.TextColumn(width=125),
            "note": st.column_config.TextColumn(width=300),
            "by": st.column_config.TextColumn(width=100),
            "changed": st.column_config.DatetimeColumn("changed, UTC", format="YYYY-MM-DD HH:mm", width=140),
        },
    )
    for row in event["selection"]["rows"]:
        key = drawn[row].key
        if key.model_sha256 in names:
            st.session_state["labels_visit"] = st.session_state.get("labels_visit", 0) + 1
            address = Address(names[key.model_sha256], key.layer, key.neuron, panel="notes")
            st.switch_page(NEURON, query_params=address.params())
        st.warning(
            plain(
                f"This neuron's model, with the weights {key.model_sha256[:12]}…, is not here. Start "
                "`solu dashboard --models FOLDER`, where FOLDER holds that model and its cache."
            )
        )


def exports(annotations: list[Annotation]) -> None:
    """Draw the buttons that download annotations as files."""
    with st.container(horizontal=True, gap="small"):
        for name, write in (("CSV", to_csv), ("JSON", to_json)):
            st.download_button(
                f"Download {len(annotations):,} as {name}",
                partial(write, annotations),
                f"solu-explorer-labels.{name.lower()}",
                key=f"labels_{name}",
                icon=":material/download:",
                on_click="ignore",
                disabled=not annotations,
            )


def imports() -> None:
    """Draw the form that imports a file."""
    with st.expander("Import", icon=":material/upload:", key="labels_import"):
        with st.form("labels_import_form", clear_on_submit=True, border=False):
            file = st.file_uploader(
                "A CSV or JSON file exported from here or elsewhere",
                type=["csv", "json"],
                max_upload_size=LARGEST // 2**20,
            )
            submitted = st.form_submit_button("Import")
        st.caption(
            "Where the file and this list both hold an annotation by the same person on the same neuron, the "
            "newer one counts and the older one stays in the history. A file with an error changes nothing."
        )
        if submitted and file is None:
            st.info("Choose a file first.")
        elif submitted and file is not None:
            try:
                merged = open_store(AnnotationStore).merge(from_file(file.getvalue()))
            except AnnotationError as error:
                st.session_state["labels_import_error"] = str(error)
            else:
                st.session_state["labels_import_outcome"] = (
                    f"{merged.added:,} added, {merged.changed:,} changed, {merged.skipped:,} skipped, "
                    "which were here already in the same or a newer version"
                )
            st.rerun()
        if reason := st.session_state.pop("labels_import_error", ""):
            show_error("This file was not imported", reason)
        if outcome := st.session_state.pop("labels_import_outcome", ""):
            st.success(plain(outcome))


def page() -> None:
    """Draw all annotations, or how to write the first one."""
    try:
        annotations = open_store(AnnotationStore).all()
    except AnnotationError as error:
        show_error("Labels cannot be read", error)
        return
    st.subheader("Labels", anchor=False)
    st.caption(
        "Labels, notes, stars and verdicts of everyone. What a person wrote about a neuron is one annotation."
    )
    if annotations:
        matches = filtered(annotations)
        if matches:
            table(matches, places.names_by_weights())
            cut = f" The table shows the newest {_MOST_ROWS:,}." if len(matches) > _MOST_ROWS else ""
            st.caption(
                f"{len(matches):,} of {len(annotations):,} annotations.{cut} Select a row to open its neuron."
            )
        else:
            st.info("No annotation matches. Change the search or a filter.")
        exports(matches)
    else:
        st.info(
            "No annotation yet. Open a neuron, choose Notes beside its examples, and write what the neuron "
            "responds to."
        )
        st.page_link(NEURON, label="Open a neuron", icon=":material/adjust:", query_params={"panel": "notes"})
    imports()


page()
