"""What an unblinded study found: figure, words, tables, every neuron, and files."""

from collections.abc import Callable
from dataclasses import astuple
from functools import partial
from typing import Literal

import pandas as pd
import streamlit as st

from analysis.formatting import number
from analysis.rating import Results, results_to_json, summary_sentences
from analysis.rating.report import format_interval, format_p_value
from dashboard.shared import places
from dashboard.shared.address import Address
from dashboard.shared.messages import plain
from dashboard.shared.page_paths import NEURON
from dashboard.studies import service as study_results
from dashboard.studies.charts import SideStyle, describe_shares, share_figure
from dashboard.studies.plan.design import Design, Item, digest
from dashboard.studies.result_files import recompute_script, share_figure_file
from dashboard.studies.storage.export import files
from dashboard.studies.storage.ratings import Rating, Summary
from dashboard.studies.storage.store import StudyStore

_ROW = 30


def findings(store: StudyStore, study: Summary) -> None:
    """Everything about a study whose key is open."""
    found, design = study_results.results_of(study.id), store.design(study.id)
    styles = study_results.side_styles(design)
    left, right = st.columns([2, 3], gap="large")
    with left:
        st.plotly_chart(
            share_figure(found, styles, dark=st.context.theme.type == "dark"), key="study_figure",
            config={"displayModeBar": False}, alt=describe_shares(found),
        )  # fmt: skip
        circles = " Circles are single raters." if len(found.raters) > 1 else ""
        st.caption(f"Fraction of neurons called interpretable, with 95% intervals.{circles}")
    with right:
        for sentence in summary_sentences(found):
            st.markdown(plain(sentence))
        if len(found.raters) > 1:
            shares = "; ".join(f"{side.side} {format_interval(side.majority)}" for side in found.sides)
            st.caption(plain(f"Called so by more than half of their raters: {shares}."))
        _agreement(found)
    _by_rater(found)
    if len(found.layers) > len(found.sides):
        _by_layer(found)
    _neurons(design, store.key(study.id), store.ratings(study.id))
    _downloads(store, study, found, design, styles)
    with st.expander("How this is computed", icon=":material/functions:", key="study_how"):
        st.markdown(HOW)


HOW = """
- **The neuron is the unit.** Its score is the share of its raters who called it interpretable; a model's
  fraction is the mean score. The interval is Wilson's, with as many neurons as would vary as much (Korn and
  Graubard, 1998). It speaks of other neurons of the model, judged by the same raters.
- **The difference** has Newcombe's hybrid interval (1998). The test is exact: neurons were drawn at random,
  so every choice of which of them are one model's is equally likely if the models do not differ, while each
  neuron keeps all its verdicts. With more than two models the p-values are raised by Holm's rule (1979).
- **By rater**, Fisher's exact test.
- **Agreement**: Krippendorff's alpha for nominal data, its interval from 1,000 resamples of neurons; Cohen's
  kappa for every two raters. Both are undefined where all verdicts are the same.
- Repeats count for self-consistency alone, attention checks for attention alone.
"""


def _agreement(found: Results) -> None:
    """The whole study's agreement, consistency, attention and time."""
    with st.container(horizontal=True, gap="small"):
        alpha = found.alpha
        said = f"{number(alpha.low, 2)} to {number(alpha.high, 2)}" if alpha.value == alpha.value else None
        _figure("Krippendorff's alpha", number(alpha.value, 2), said)
        for label, of in (("Same when shown again", found.consistency), ("Checks passed", found.checks)):
            _figure(label, f"{of.hits} of {of.n}", format_interval(of.share) if of.n else None)
        for side in found.sides:
            _figure(f"{side.side}, median", f"{number(side.seconds, 2)} s", f"{side.n_ratings:,} ratings")
    if found.kappas:
        with st.expander(f"Cohen's kappa of {len(found.kappas)} pairs of raters", key="study_kappas"):
            columns = ("rater", "and", "neurons both rated", "agree", "kappa")
            rows = [dict(zip(columns, astuple(k), strict=True)) for k in found.kappas]
            st.dataframe(
                pd.DataFrame(rows), hide_index=True, row_height=_ROW, key="study_kappa_table",
                column_config={
                    "agree": st.column_config.NumberColumn(format="percent"),
                    "kappa": st.column_config.NumberColumn(format="%.2f"),
                },
            )  # fmt: skip


def _figure(label: str, value: str, note: str | None) -> None:
    with st.container(width=138, gap=None):
        st.caption(plain(label))
        st.markdown(f"**{plain(value)}**")
        if note:
            st.caption(plain(note))


def _by_rater(found: Results) -> None:
    st.markdown("##### By rater")
    rows = []
    for rater in found.raters:
        row: dict[str, object] = {"rater": rater.rater, "ratings": rater.n_ratings}
        for side, of in zip(found.sides, rater.shares, strict=True):
            row[side.side] = format_interval(of.share)
        for c in rater.comparisons:
            less = "difference" if len(rater.comparisons) == 1 else f"{c.first} less {c.second}"
            row[f"{less}, points"], row[f"{less}, p"] = format_interval(c.difference, ""), format_p_value(c.p)
        row["same when shown again"] = f"{rater.consistency.hits} of {rater.consistency.n}"
        row["checks passed"] = f"{rater.checks.hits} of {rater.checks.n}"
        row["median seconds"] = rater.seconds
        rows.append(row)
    if rows:
        st.dataframe(
            pd.DataFrame(rows), hide_index=True, row_height=_ROW, key="study_by_rater",
            column_config={"median seconds": st.column_config.NumberColumn(format="%.0f")},
        )  # fmt: skip
    else:
        st.caption("Nobody rated.")


def _by_layer(found: Results) -> None:
    st.markdown("##### By layer")
    rows = [
        {
            "model": of.side,
            "layer": of.layer,
            "neurons": of.n_neurons,
            "interpretable": format_interval(of.share),
        }
        for of in found.layers
    ]
    st.dataframe(pd.DataFrame(rows), hide_index=True, row_height=_ROW, key="study_by_layer")


def _neurons(design: Design, items: list[Item], ratings: list[Rating]) -> None:
    """Every neuron with its verdicts and rules; a selected row opens its page."""
    st.markdown("##### Every neuron")
    of: dict[str, list[Rating]] = {item.name: [] for item in items}
    for rating in ratings:
        of[rating.item].append(rating)
    shown = [item for item in items if item.kind == "neuron" and of[item.name]]
    if not shown:
        st.caption("None was rated.")
        return
    names = study_results.side_names(design)
    rows = pd.DataFrame(
        {
            "model": [names[item.side or 0] for item in shown],
            "layer": [item.layer for item in shown],
            "neuron": [item.neuron for item in shown],
            "interpretable": [sum(r.verdict != "not" for r in of[item.name]) for item in shown],
            "raters": [len(of[item.name]) for item in shown],
            "verdicts": [", ".join(_verdict(r) for r in of[item.name]) for item in shown],
            "rules": [" · ".join(f"{r.rater}: {r.rule}" for r in of[item.name] if r.rule) for item in shown],
        }
    )
    visit = st.session_state.setdefault("study_visit", 0)
    event = st.dataframe(
        rows, key=f"study_neurons_{visit}", hide_index=True, row_height=_ROW,
        height=min(_ROW * (len(rows) + 1) + 9, 420), on_select="rerun", selection_mode="single-row",
        column_config={
            "model": st.column_config.TextColumn(width=130),
            "layer": st.column_config.NumberColumn(width=60),
            "neuron": st.column_config.NumberColumn(width=70),
            "interpretable": st.column_config.NumberColumn(width=100),
            "raters": st.column_config.NumberColumn(width=70),
            "verdicts": st.column_config.TextColumn(width=260),
            "rules": st.column_config.TextColumn(width=460),
        },
    )  # fmt: skip
    st.caption("Select a row to open its neuron.")
    for row in event["selection"]["rows"]:
        st.session_state["study_visit"] = visit + 1
        _open(design, shown[row])


def _open(design: Design, item: Item) -> None:
    side = design.sides[item.side or 0]
    name = places.names_by_weights().get(side.model_sha256)
    if name is not None:
        address = Address(name, item.layer, item.neuron, hook=side.hook)
        st.switch_page(NEURON, query_params=address.params())
    st.warning(
        plain(
            f"No model here has the weights {side.model_sha256[:12]}… of {side.model}. Start with "
            "`solu dashboard --models FOLDER`, where FOLDER holds it with its cache."
        )
    )


def _verdict(rating: Rating) -> str:
    return f"{rating.rater} {'no' if rating.verdict == 'not' else 'yes'}"


def _downloads(
    store: StudyStore, study: Summary, found: Results, design: Design, styles: list[SideStyle]
) -> None:
    """Files, each made when it is asked for."""
    st.markdown("##### Download")
    provenance = f"SoLU Explorer, study {study.id}, pre-registration SHA-256 " + digest(
        store.preregistration(study.id)
    )

    def exported(name: str) -> bytes:
        return files(store, study.id)[name]

    with st.container(horizontal=True, gap="small"):
        _button(study, "Ratings (CSV)", partial(exported, "ratings.csv"), "ratings.csv", "text/csv")
        _button(study, "Ratings (JSON)", partial(exported, "ratings.json"), "ratings.json")
        _button(study, "Results (JSON)", partial(results_to_json, found), "results.json")
        kinds: tuple[tuple[Literal["svg", "png"], str], ...] = ("svg", "image/svg+xml"), ("png", "image/png")
        for kind, mime in kinds:
            figure = partial(share_figure_file, found, styles, study.title, provenance, kind)
            _button(study, f"Figure ({kind.upper()})", figure, f"figure.{kind}", mime)
        _button(study, "Key (JSON)", partial(exported, "key.json"), "key.json")
        script = partial(recompute_script, study_results.side_names(design))
        _button(study, "Code (Python)", script, "recompute.py", "text/x-python")


def _button(
    study: Summary, label: str, make: Callable[[], bytes], name: str, mime: str = "application/json"
) -> None:
    st.download_button(
        label, make, f"{study.id}-{name}", mime, key=f"study_{name}", icon=":material/download:",
        on_click="ignore",
    )  # fmt: skip
