"""A neuron: its strongest examples, its histograms, and where both come from."""

import pandas as pd
import streamlit as st

from cache.histogram import Moments
from dashboard import services
from dashboard.charts import HOOK_LABELS, HOOK_TITLES, histograms
from dashboard.components.quantity_table import quantity_table
from dashboard.components.token_view import token_view
from dashboard.messages import number, plain, share, show_problem
from dashboard.services import NeuronFacts, Place
from dashboard.state import AddressError

LIST = "views/neurons.py"
MODELS = "views/models.py"
VIEW_LABELS = {"top": "strongest", "ranges": "sampled by range", "bottom": "weakest"}
QUANTITIES = [
    ("maximum", "max"),
    ("minimum", "min"),
    ("mean", "mean"),
    ("standard deviation", "std"),
    ("skewness", "skewness"),
    ("excess kurtosis", "kurtosis"),
]


def go(neuron: int) -> None:
    """Change the address to another neuron of the same layer."""
    st.query_params["neuron"] = str(neuron)


def moved() -> None:
    """Change the address to what the widgets say."""
    for name in ("layer", "neuron", "hook", "view"):
        st.query_params[name] = str(st.session_state[f"go_{name}"])


def header(place: Place) -> None:
    """What is shown, and the ways to other neurons."""
    last = place.cache.d_mlp - 1
    # The address says what the widgets show, whatever they showed before.
    st.session_state.update(
        go_layer=place.layer, go_neuron=place.neuron, go_hook=place.hook, go_view=place.view
    )
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.subheader(f"Layer {place.layer} · neuron {place.neuron}", anchor=False, width="content")
        st.caption(plain(place.model.name), width="stretch")
        st.selectbox(
            "Layer", place.cache.layers, format_func=lambda layer: f"layer {layer}",
            key="go_layer", on_change=moved, label_visibility="collapsed", width=105,
        )  # fmt: skip
        st.number_input(
            f"Neuron, 0 to {last}", 0, last, step=1,
            key="go_neuron", on_change=moved, label_visibility="collapsed", width=125,
        )  # fmt: skip
        st.button(
            "Previous", key="previous", icon=":material/chevron_left:", shortcut="Left",
            disabled=place.neuron == 0, on_click=go, args=(place.neuron - 1,),
        )  # fmt: skip
        st.button(
            "Next", key="next", icon=":material/chevron_right:", shortcut="Right",
            disabled=place.neuron == last, on_click=go, args=(place.neuron + 1,),
        )  # fmt: skip
        st.button(
            "Random", key="random", icon=":material/casino:", shortcut="X",
            on_click=lambda: go(services.random_neuron(place)),
        )  # fmt: skip
        if st.button("List", key="list", icon=":material/table_rows:", shortcut="L"):
            st.switch_page(LIST, query_params=place.address.with_(neuron=None).params())


def hook_choice(place: Place) -> None:
    """Which hook's examples are shown."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.caption("Examples and colours", width="content")
        st.segmented_control(
            "Examples and colours",
            place.cache.hooks,
            required=True,
            format_func=HOOK_LABELS.__getitem__,
            key="go_hook",
            on_change=moved,
            disabled=len(place.cache.hooks) == 1,
            label_visibility="collapsed",
        )


def view_choice(place: Place) -> None:
    """Which of the neuron's examples are shown."""
    st.segmented_control(
        "Examples",
        place.views,
        required=True,
        format_func=VIEW_LABELS.__getitem__,
        key="go_view",
        on_change=moved,
        disabled=len(place.views) == 1,
        label_visibility="collapsed",
    )


def tokens_and_sources(facts: NeuronFacts) -> None:
    """Tokens of the highest mean activation, and the sources of text that its activation came from."""
    if not facts.tokens and not facts.sources:
        return
    columns = st.columns(2, gap="small")
    with columns[0]:
        st.dataframe(
            pd.DataFrame(facts.tokens, columns=["token", "mean", "count"]),
            hide_index=True,
            height=215,
            column_config={
                "token": st.column_config.TextColumn("on token", width="small"),
                "mean": st.column_config.NumberColumn("mean", format="%.3g", width="small"),
                "count": st.column_config.NumberColumn("times", format="localized", width="small"),
            },
        )
    with columns[1]:
        st.dataframe(
            pd.DataFrame(facts.sources, columns=["source", "share"]),
            hide_index=True,
            height=215,
            column_config={
                "source": st.column_config.TextColumn("in source", width="small"),
                "share": st.column_config.ProgressColumn(
                    "share of activation", format="percent", min_value=0, max_value=1, width="small"
                ),
            },
        )


def quantities(facts: NeuronFacts) -> None:
    """Exact extremes and moments, a column a hook."""
    moments = facts.moments
    rows = [(label, [number(getattr(m, name)) for m in moments.values()]) for label, name in QUANTITIES]
    rows.append(("above a tenth of its maximum", [share(facts.density[h]) for h in moments]))
    if any(m.n_nan or m.n_inf for m in moments.values()):
        rows.append(("not a number / infinite", [f"{m.n_nan:,} / {m.n_inf:,}" for m in moments.values()]))
    st.html(quantity_table(list(moments), rows))


def provenance(place: Place, moments: Moments) -> None:
    """Which checkpoint, corpus, hook and precision the figures are of."""
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


def page() -> None:
    """Draw the neuron that the address names."""
    try:
        place = services.find_place(services.asked_address())
        facts = services.neuron_facts(place)
    except (AddressError, services.ModelError, services.CacheError) as error:
        show_problem("This address shows no neuron", error)
        with st.container(horizontal=True):
            st.page_link("views/neuron.py", label="Open a neuron to begin with", query_params={})
            st.page_link(MODELS, label="See the models", icon=":material/folder_open:")
        return
    st.query_params.update(place.address.params())
    services.remember(place.address)

    header(place)
    examples, side = st.columns([5, 4], gap="medium")
    with side, st.container(key="side", gap="small"):
        hook_choice(place)
        title = "before and after the LayerNorm" if len(place.cache.hooks) > 1 else HOOK_TITLES[place.hook]
        st.plotly_chart(
            histograms(facts.bars, place.hook),
            key="histograms",
            config={"displayModeBar": False},
            alt=f"Histograms of the neuron's activation {title}, log counts",
        )
        quantities(facts)
        tokens_and_sources(facts)
        provenance(place, facts.moments[place.hook])
    with examples:
        view_choice(place)
        if facts.n_examples:
            token_view(facts.examples, key="examples")
        else:
            st.info("No example: this neuron never took a finite value in the corpus.")


page()
