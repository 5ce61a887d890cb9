"""Rankings: the neurons of the layer for the hypothesis, and simple hypotheses for the neuron."""

import streamlit as st

from analysis.formatting import share
from dashboard.lab.hypothesis_box import write_hypothesis_to_address
from dashboard.lab.rankings import propose_hypotheses, rank_neurons
from dashboard.lab.sample_activations import Sample
from dashboard.lab.sample_form import sample_or_form
from dashboard.shared.address import Address
from dashboard.shared.components.bar_list import Column, Row, bar_list
from dashboard.shared.lab_address import LabAddress
from dashboard.shared.messages import plain
from dashboard.shared.place import Place

_N_NEURONS = 20


def draw(place: Place, hypothesis: str) -> None:
    """Draw the ranking of neurons, and the proposals beside it."""
    sample = sample_or_form(place)
    if sample is None:
        return
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown("**Neurons of this layer that detect the hypothesis best**")
        if hypothesis:
            _neurons(place, hypothesis, sample)
        else:
            st.info("Write a hypothesis above to rank the neurons by it.")
    with right:
        st.markdown(f"**Proposed hypotheses for neuron {place.neuron}**")
        _proposals(place, sample)


def _neurons(place: Place, hypothesis: str, sample: Sample) -> None:
    bar = st.empty()
    ranking = rank_neurons(
        place, hypothesis, sample, lambda part: bar.progress(part, f"{part:.0%} of the neurons")
    )
    bar.empty()
    best = [r for r in ranking if r.average_precision > 0][:_N_NEURONS]
    if not best:
        st.warning(
            "No sampled token fits, or every one does, so neurons cannot be ranked. Try another hypothesis, "
            "or a larger sample."
        )
        return
    rows = [
        Row(f"neuron {r.neuron}", r.average_precision, f"{r.average_precision:.3f}", f"AUC {r.auc:.3f}",
            Address(place.model.name, place.layer, r.neuron, place.hook), {"hypothesis": hypothesis})
        for r in best
    ]  # fmt: skip

    def open_neuron(address: Address) -> None:
        st.query_params.update(LabAddress(hypothesis).params(address))

    bar_list([Column("average precision", rows)], "lab_ranking", open_neuron)
    rank = next((k for k, r in enumerate(ranking, start=1) if r.neuron == place.neuron), 0)
    st.caption(f"Neuron {place.neuron} ranks {rank:,} of {len(ranking):,}.")


def _proposals(place: Place, sample: Sample) -> None:
    for number, proposal in enumerate(propose_hypotheses(place, sample)):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.button(
                "Try", key=f"lab_try_{number}", icon=":material/north_west:",
                help="Write this hypothesis into the field above.",
                on_click=write_hypothesis_to_address, args=(proposal.text,),
            )  # fmt: skip
            st.markdown(f"`{proposal.average_precision:.3f}`", width="content")
            st.markdown(plain(proposal.text), width="stretch")
            st.caption(f"AUC {proposal.auc:.3f}, fits {share(proposal.share)}", width="content")
    st.caption(
        "Proposals are a start, not a result. A program tried tokens, kinds of characters and sources, and "
        "chose the best on one half of the sample. The average precision shown is that on the other half."
    )
