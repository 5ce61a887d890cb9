"""The results of an unblinded study: figure, sentences, tables, every neuron, and files."""

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
from dashboard.studies import service
from dashboard.studies.charts import SideStyle, describe_shares, share_figure
from dashboard.studies.plan.design import Design, Item, digest
from dashboard.studies.result_files import recompute_script, share_figure_file
from dashboard.studies.storage.export import files
from dashboard.studies.storage.ratings import Rating, Summary
from dashboard.studies.storage.store import StudyStore

_ROW = 30


def draw_results(store: StudyStore, study: Summary) -> None:
    """Draw the results of a study that is unblinded."""
    results, design = service.results_of(study.id), store.design(study.id)
    styles = service.side_styles(design)
    left, right = st.columns([2, 3], gap="large")
    with left:
        st.plotly_chart(
            share_figure(results, styles, dark=st.context.theme.type == "dark"), key="study_figure",
            config={"displayModeBar": False}, alt=describe_shares(results),
        )  # fmt: skip
        circles = " Circles show single raters." if len(results.raters) > 1 else ""
        st.caption(f"Share of neurons called interpretable, with 95% intervals.{circles}")
    with right:
        for sentence in summary_sentences(results):
            st.markdown(plain(sentence))
        if len(results.raters) > 1:
            shares = "; ".join(f"{side.side} {format_interval(side.majority)}" for side in results.sides)
            st.caption(plain(f"Called interpretable by more than half of their raters: {shares}."))
        _agreement(results)
    _by_rater(results)
    if len(results.layers) > len(results.sides):
        _by_layer(results)
    _neurons(design, store.key(study.id), store.ratings(study.id))
    _downloads(store, study, results, design, styles)
    with st.expander("How this is computed", icon=":material/functions:", key="study_how"):
        st.markdown(HOW)


HOW = """
- **The neuron is the unit.** Its score is the share of its raters who called it interpretable; a model's
  share is the mean score. The interval is Wilson's with the effective number of neurons, at which single
  verdicts would have the same variance (Korn and Graubard, 1998). It holds for other neurons of the model,
  rated by the same raters.
- **The difference** has Newcombe's hybrid interval (1998). The test is an exact permutation test: if the
  models do not differ, every assignment of the neurons to the models is equally likely. Each neuron keeps all
  its verdicts. With more than two models the p-values are corrected by Holm's method (1979).
- **By rater**: Fisher's exact test.
- **Agreement**: Krippendorff's alpha for nominal data, with an interval from 1,000 resamples of neurons, and
  Cohen's kappa for each pair of raters. Both are undefined where all verdicts are the same.
- Repeats are used only to measure how far raters agree with themselves, and attention checks only to measure
  attention.
"""


def _agreement(results: Results) -> None:
    """Draw the raters' agreement, self-consistency, attention and time."""
    with st.container(horizontal=True, gap="small"):
        alpha = results.alpha
        is_defined = alpha.value == alpha.value  # NaN where all verdicts are the same
        bounds = f"{number(alpha.low, 2)} to {number(alpha.high, 2)}" if is_defined else None
        _number("Krippendorff's alpha", number(alpha.value, 2), bounds)
        for label, part in (
            ("Same when shown again", results.consistency),
            ("Checks passed", results.checks),
        ):
            _number(label, f"{part.hits} of {part.n}", format_interval(part.share) if part.n else None)
        for side in results.sides:
            _number(
                f"{side.side}, median time", f"{number(side.seconds, 2)} s", f"{side.n_ratings:,} ratings"
            )
    if results.kappas:
        pairs = "1 pair" if len(results.kappas) == 1 else f"{len(results.kappas):,} pairs"
        with st.expander(f"Cohen's kappa of {pairs} of raters", key="study_kappas"):
            columns = ("rater", "other rater", "neurons both rated", "agree", "kappa")
            rows = [dict(zip(columns, astuple(k), strict=True)) for k in results.kappas]
            st.dataframe(
                pd.DataFrame(rows), hide_index=True, row_height=_ROW, key="study_kappa_table",
                column_config={
                    "agree": st.column_config.NumberColumn(format="percent"),
                    "kappa": st.column_config.NumberColumn(format="%.2f"),
                },
            )  # fmt: skip


def _number(label: str, value: str, note: str | None) -> None:
    with st.container(width=138, gap=None):
        st.caption(plain(label))
        st.markdown(f"**{plain(value)}**")
        if note:
            st.caption(plain(note))


def _by_rater(results: Results) -> None:
    st.markdown("##### By rater")
    rows = []
    for rater in results.raters:
        row: dict[str, object] = {"rater": rater.rater, "ratings": rater.n_ratings}
        for side, share in zip(results.sides, rater.shares, strict=True):
            row[side.side] = format_interval(share.share)
        for c in rater.comparisons:
            name = "difference" if len(rater.comparisons) == 1 else f"{c.first} minus {c.second}"
            row[f"{name}, points"], row[f"{name}, p"] = format_interval(c.difference, ""), format_p_value(c.p)
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


def _by_layer(results: Results) -> None:
    st.markdown("##### By layer")
    rows = [
        {"model": v.side, "layer": v.layer, "neurons": v.n_neurons, "interpretable": format_interval(v.share)}
        for v in results.layers
    ]
    st.dataframe(pd.DataFrame(rows), hide_index=True, row_height=_ROW, key="study_by_layer")


def _neurons(design: Design, items: list[Item], ratings: list[Rating]) -> None:
    """Draw every neuron with its verdicts and rules. Selecting a row opens the neuron."""
    st.markdown("##### Every neuron")
    by_item: dict[str, list[Rating]] = {item.name: [] for item in items}
    for rating in ratings:
        by_item[rating.item].append(rating)
    rated = [item for item in items if item.kind == "neuron" and by_item[item.name]]
    if not rated:
        st.caption("No neuron was rated.")
        return
    names = service.side_names(design)
    rows = pd.DataFrame(
        {
            "model": [names[item.side or 0] for item in rated],
            "layer": [item.layer for item in rated],
            "neuron": [item.neuron for item in rated],
            "interpretable": [sum(r.verdict != "not" for r in by_item[item.name]) for item in rated],
            "raters": [len(by_item[item.name]) for item in rated],
            "verdicts": [", ".join(_verdict(r) for r in by_item[item.name]) for item in rated],
            "rules": [
                " · ".join(f"{r.rater}: {r.rule}" for r in by_item[item.name] if r.rule) for item in rated
            ],
        }
    )
    # A new key after each visit to a neuron: else the old selection would open that neuron again.
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
        _open(design, rated[row])


def _open(design: Design, item: Item) -> None:
    side = design.sides[item.side or 0]
    name = places.names_by_weights().get(side.model_sha256)
    if name is not None:
        address = Address(name, item.layer, item.neuron, hook=side.hook)
        st.switch_page(NEURON, query_params=address.params())
    st.warning(
        plain(
            f"The model {side.model}, with the weights {side.model_sha256[:12]}…, is not here. Start "
            "`solu dashboard --models FOLDER`, where FOLDER holds that model and its cache."
        )
    )


def _verdict(rating: Rating) -> str:
    return f"{rating.rater} {'no' if rating.verdict == 'not' else 'yes'}"


def _downloads(
    store: StudyStore, study: Summary, results: Results, design: Design, styles: list[SideStyle]
) -> None:
    """Draw the buttons that download files. Each file is made when its button is pressed."""
    st.markdown("##### Download")
    provenance = f"SoLU Explorer, study {study.id}, pre-registration SHA-256 " + digest(
        store.preregistration(study.id)
    )

    def exported(name: str) -> bytes:
        return files(store, study.id)[name]

    with st.container(horizontal=True, gap="small"):
        _button(study, "Ratings (CSV)", partial(exported, "ratings.csv"), "ratings.csv", "text/csv")
        _button(study, "Ratings (JSON)", partial(exported, "ratings.json"), "ratings.json")
        _button(study, "Results (JSON)", partial(results_to_json, results), "results.json")
        kinds: tuple[tuple[Literal["svg", "png"], str], ...] = ("svg", "image/svg+xml"), ("png", "image/png")
        for kind, mime in kinds:
            figure = partial(share_figure_file, results, styles, study.title, provenance, kind)
            _button(study, f"Figure ({kind.upper()})", figure, f"figure.{kind}", mime)
        _button(study, "Key (JSON)", partial(exported, "key.json"), "key.json")
        script = partial(recompute_script, service.side_names(design))
        _button(study, "Code (Python)", script, "recompute.py", "text/x-python")


def _button(
    study: Summary, label: str, make: Callable[[], bytes], name: str, mime: str = "application/json"
) -> None:
    st.download_button(
        label, make, f"{study.id}-{name}", mime, key=f"study_{name}", icon=":material/download:",
        on_click="ignore",
    )  # fmt: skip
