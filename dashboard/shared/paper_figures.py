"""Figures of a neuron for a paper: SVG and PNG, drawn without a browser. Pure."""

import io
from collections.abc import Mapping
from typing import Literal

import numpy as np

from analysis.histogram_bars import Bars
from dashboard.shared.hook_names import HOOK_COLOURS, hook_title

WIDTH = 5.5
"""Inches: the text width of most papers."""


def histogram_figure(
    bars: Mapping[str, Bars], title: str, provenance: str, kind: Literal["svg", "png"]
) -> bytes:
    """The histograms of a neuron, a hook each beside the other, log counts.

    Args:
        bars: by hook.
        provenance: kept in the file's metadata, and in small print below.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context({"font.size": 8, "svg.fonttype": "none"}):  # text stays text in an SVG
        figure = Figure(figsize=(WIDTH, 2.3), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(1, len(bars), squeeze=False, sharey=True)[0]
        for axis, (hook, b) in zip(axes, bars.items(), strict=True):
            axis.stairs(b.counts, b.edges, fill=True, color=HOOK_COLOURS[hook], baseline=0.5)
            axis.set_yscale("log")
            axis.set_ylim(0.5, 2 * max(int(np.max(b.counts)), 1))
            axis.set_xlabel("activation")
            axis.set_title(hook_title(hook, len(bars) > 1), fontsize=8)
            axis.spines[["top", "right"]].set_visible(False)
        axes[0].set_ylabel("tokens")
        figure.suptitle(title, fontsize=9, parse_math=False)
        figure.supxlabel(provenance, fontsize=4.5, color="#555555", wrap=True, parse_math=False)
        out = io.BytesIO()
        name = "Description" if kind == "png" else "Source"
        figure.savefig(out, format=kind, dpi=300, metadata={"Title": title, name: provenance})
    return out.getvalue()
