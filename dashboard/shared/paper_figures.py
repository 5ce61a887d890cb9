"""Figures of a neuron for a paper, as SVG or PNG, drawn by matplotlib without a browser."""

import io
from collections.abc import Mapping
from typing import Literal

import numpy as np

from analysis.histogram_bars import Bars
from dashboard.shared.display_names import hook_title
from dashboard.shared.palette import HOOK_COLOURS, SMALL_PRINT

WIDTH = 5.5
"""Inches, the text width of most papers."""


def histogram_figure(
    bars: Mapping[str, Bars], title: str, provenance: str, kind: Literal["svg", "png"]
) -> bytes:
    """Draw the histograms of a neuron side by side, one for each hook, with logarithmic counts.

    Args:
        bars: by hook.
        title: above the figure.
        provenance: in small print below the figure, and in the file's metadata.
        kind: format of the file.
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
        figure.supxlabel(provenance, fontsize=4.5, color=SMALL_PRINT, wrap=True, parse_math=False)
        out = io.BytesIO()
        name = "Description" if kind == "png" else "Source"
        figure.savefig(out, format=kind, dpi=300, metadata={"Title": title, name: provenance})
    return out.getvalue()
