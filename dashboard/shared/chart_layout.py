"""Common layout of the plotly figures: margins, fixed axes, legends."""

from typing import Any

import plotly.graph_objects as go

LEGEND = {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"}
"""A legend in one row above the plot, on the left."""
_TICK_SIZE = 11


def lay_out(figure: go.Figure, height: int, *, top: int = 8, **layout: Any) -> None:
    """Set height, margins and axes; call it before anything that a single axis needs.

    Figures neither zoom nor pan, so that a page scrolls under a finger or a wheel.

    Args:
        figure: changed in place.
        height: pixels.
        top: margin above the plot in pixels, for a title or a legend.
        layout: further fields of plotly's layout; they replace the common ones.
    """
    common = {
        "height": height,
        "margin": {"l": 8, "r": 8, "t": top, "b": 8},
        "dragmode": False,
        "showlegend": False,
        "hoverlabel": {"align": "left"},
    }
    figure.update_layout(common | layout)
    figure.update_xaxes(fixedrange=True, zeroline=False, tickfont_size=_TICK_SIZE)
    figure.update_yaxes(fixedrange=True, zeroline=False, tickfont_size=_TICK_SIZE)
