"""What people say of neurons: search, open, export, import."""

from functools import partial

import pandas as pd
import streamlit as st

from dashboard.labels.files import LARGEST, from_file, to_csv, to_json
from dashboard.shared import places
from dashboard.shared.address import Address
from dashboard.shared.annotations import service as annotations
from dashboard.shared.annotations.content import VERDICTS, Annotation, AnnotationError
from dashboard.shared.error_message import show_problem
from dashboard.shared.messages import plain
from dashboard.shared.page_paths import NEURON

_SHOWN = 5_000  # rows of the table; a search finds the others


def chosen(everything: list[Annotation]) -> list[Annotation]:
    """The controls, and the annotations they leave."""
    people = sorted({a.user for a in everything})
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
        starred = st.checkbox("Starred alone", key="labels_starred", persist_state="session")
    wanted = (text or "").casefold()
    return [
        a
        for a in everything
        if wanted in f"{a.content.label}\n{a.content.note}".casefold()
        and (verdict is None or a.content.verdict == verdict)
        and (user is None or a.user == user)
        and (a.content.star or not starred)
    ]


def table(found: list[Annotation], names: dict[str, str]) -> None:
    """The annotations; a selected row opens its neuron."""
    rows = pd.DataFrame(
        {
            "model": [names.get(a.key.model_sha256, f"{a.model} (not here)") for a in found[:_SHOWN]],
            "layer": [a.key.layer for a in found[:_SHOWN]],
            "neuron": [a.key.neuron for a in found[:_SHOWN]],
            "star": ["★" if a.content.star else "" for a in found[:_SHOWN]],
            "label": [a.content.label for a in found[:_SHOWN]],
            "verdict": [a.content.verdict for a in found[:_SHOWN]],
            "note": [a.content.note for a in found[:_SHOWN]],
            "by": [a.user for a in found[:_SHOWN]],
            "changed": pd.to_datetime([a.changed for a in found[:_SHOWN]], utc=True),
        }
    )
    event = st.dataframe(
        rows,
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
        key = found[row].key
        if key.model_sha256 in names:
            st.session_state["labels_visit"] = st.session_state.get("labels_visit", 0) + 1
            address = Address(names[key.model_sha256], key.layer, key.neuron, panel="notes")
            st.switch_page(NEURON, query_params=address.params())
        st.warning(
            plain(
                f"No model here has the weights {key.model_sha256[:12]}… that this label is of. Start with "
                "`solu dashboard --models FOLDER`, where FOLDER holds it with its cache."
            )
        )


def exports(found: list[Annotation]) -> None:
    """What is shown, as files."""
    with st.container(horizontal=True, gap="small"):
        for name, write in (("CSV", to_csv), ("JSON", to_json)):
            st.download_button(
                f"Download {len(found):,} as {name}",
                partial(write, found),
                f"solu-explorer-labels.{name.lower()}",
                key=f"labels_{name}",
                icon=":material/download:",
                on_click="ignore",
                disabled=not found,
            )


def imports() -> None:
    """Take in a file that was exported here or elsewhere."""
    with st.expander("Import", icon=":material/upload:", key="labels_import"):
        with st.form("labels_import_form", clear_on_submit=True, border=False):
            file = st.file_uploader(
                "A CSV or JSON file that was exported here or elsewhere",
                type=["csv", "json"],
                max_upload_size=LARGEST // 2**20,
            )
            submitted = st.form_submit_button("Import")
        st.caption(
            "Where a file and this list both hold something by one person on one neuron, the newer stays; "
            "the older is in the history. A file with any mistake in it changes nothing."
        )
        if submitted and file is None:
            st.info("Choose a file first.")
        elif submitted and file is not None:
            try:
                merged = annotations.store().merge(from_file(file.getvalue()))
            except AnnotationError as error:
                st.session_state["labels_import_problem"] = str(error)
            else:
                st.session_state["labels_import_outcome"] = (
                    f"{merged.added:,} added, {merged.changed:,} changed, {merged.skipped:,} skipped: "
                    "the same or something newer is here"
                )
            st.rerun()
        if problem := st.session_state.pop("labels_import_problem", ""):
            show_problem("This file was not imported", problem)
        if outcome := st.session_state.pop("labels_import_outcome", ""):
            st.success(plain(outcome))


def page() -> None:
    """All labels, or how to write the first."""
    try:
        everything = annotations.store().all()
    except AnnotationError as error:
        show_problem("Labels cannot be read", error)
        return
    st.subheader("Labels", anchor=False)
    if everything:
        found = chosen(everything)
        if found:
            table(found, places.names_by_weights())
            more = f"; the table shows the newest {_SHOWN:,}" if len(found) > _SHOWN else ""
            st.caption(f"{len(found):,} of {len(everything):,} labels{more}. Select one to open its neuron.")
        else:
            st.info("No label fits: search for less.")
        exports(found)
    else:
        st.info("No label yet. Open a neuron, choose Notes beside its examples, and say what it responds to.")
        st.page_link(NEURON, label="Open a neuron", icon=":material/adjust:", query_params={"panel": "notes"})
    imports()


page()
