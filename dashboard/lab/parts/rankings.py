"""Where to look: all neurons of the layer for a hypothesis, and simple hypotheses for the neuron."""

import streamlit as st

from analysis.formatting import share
from dashboard.lab import service as lab
from dashboard.lab.hypothesis_box import to_address
from dashboard.lab.sample_activations import Sample
from dashboard.lab.sampling import sample_for
from dashboard.shared.address import Address
from dashboard.shared.components.bar_list import Column, Row, bar_list
from dashboard.shared.lab_address import LabAddress
from dashboard.shared.messages import plain
from dashboard.shared.place import Place

_SHOWN = 20


def draw(place: Place, text: str) -> None:
    """The ranking beside the proposals."""
    sample = sample_for(place)
    if sample is None:
        return
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown("**Neurons of this layer that answer the hypothesis best**")
        if text:
            _ranking(place, text, sample)
        else:
            st.info("Write a hypothesis above.")
    with right:
        st.markdown(f"**Proposals for neuron {place.neuron}**")
        _proposals(place, sample)


def _ranking(place: Place, text: str, sample: Sample) -> None:
    bar = st.empty()
    answers = lab.ranked(place, text, sample, lambda part: bar.progress(part, f"{part:.0%} of the neurons"))
    bar.empty()
    shown = [a for a in answers if a.average_precision > 0][:_SHOWN]
    if not shown:
        st.warning("No sampled token fits, or every one does: there is nothing to rank by.")
        return
    rows = [
        Row(f"neuron {a.neuron}", a.average_precision, f"{a.average_precision:.3f}", f"AUC {a.auc:.3f}",
            Address(place.model.name, place.layer, a.neuron, place.hook), {"hypothesis": text})
        for a in shown
    ]  # fmt: skip

    def opened(address: Address) -> None:
        st.query_params.update(LabAddress(text).params(address))

    bar_list([Column("average precision", rows)], "lab_ranking", opened)
    rank = next((k for k, a in enumerate(answers, start=1) if a.neuron == place.neuron), 0)
    st.caption(f"Neuron {place.neuron} is number {rank:,} of {len(answers):,}.")


def _proposals(place: Place, sample: Sample) -> None:
    for number, proposal in enumerate(lab.proposed(place, sample)):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.button(
                "Try", key=f"lab_try_{number}", icon=":material/north_west:",
                help="Put it into the box.", on_click=to_address, args=(proposal.text,),
            )  # fmt: skip
            st.markdown(f"`{proposal.average_precision:.3f}`", width="content")
            st.markdown(plain(proposal.text), width="stretch")
            st.caption(f"AUC {proposal.auc:.3f}, fits {share(proposal.share)}", width="content")
    st.caption(
        "Proposals, no findings: tokens, kinds of characters and sources that a program tried. Chosen on one "
        "half of the sample; the average precision is that on the other half."
    )
