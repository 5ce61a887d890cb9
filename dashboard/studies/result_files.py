"""What is downloaded of a study's results: the figure for a paper, and the script that makes them again."""

import io
from typing import Literal

from analysis.rating.results import Results
from dashboard.shared.paper_figures import WIDTH
from dashboard.studies.charts import COLOURS

SCRIPT = '''"""Compute the results of a rating study again, from its downloaded ratings.

Needs SoLU Explorer on the path:  python recompute.py ratings.csv
"""

import sys

from analysis.rating import read_ratings, results, results_to_json, summary_sentences

SIDES = {sides!r}

found = results(read_ratings(sys.argv[1] if len(sys.argv) > 1 else "ratings.csv"), SIDES)
print(*summary_sentences(found), sep="\\n", file=sys.stderr)
sys.stdout.buffer.write(results_to_json(found))
'''


def recompute_script(sides: list[str]) -> bytes:
    """A Python script that makes the same `results.json` of the same `ratings.csv`."""
    return SCRIPT.format(sides=sides).encode()


def share_figure_file(found: Results, title: str, provenance: str, kind: Literal["svg", "png"]) -> bytes:
    """The paper's Figure 4: a bar a model with its 95% interval, a circle a rater where there are several.

    Args:
        provenance: kept in the file's metadata, and in small print below.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context({"font.size": 8, "svg.fonttype": "none"}):  # text stays text in an SVG
        figure = Figure(figsize=(WIDTH, 2.8), layout="constrained")
        FigureCanvasAgg(figure)
        axis = figure.subplots()
        for at, side in enumerate(found.sides):
            if side.n_neurons:
                s = side.share
                ends = [[s.value - s.low], [s.high - s.value]]
                colour = COLOURS[at % len(COLOURS)]
                axis.bar(at, s.value, 0.55, color=f"{colour}80", edgecolor=colour)
                axis.errorbar(at, s.value, ends, color="#1f2023", capsize=4, linewidth=1)
            raters = [r.shares[at].share.value for r in found.raters if r.shares[at].n]
            if len(found.raters) > 1:
                axis.plot([at + 0.14] * len(raters), raters, "o", mfc="none", color="#5d5f66", markersize=5)
        axis.set_xticks(
            range(len(found.sides)),
            [f"{side.side}\n{side.n_neurons} neurons" for side in found.sides],
            parse_math=False,
        )
        axis.set_ylim(0, 1)
        axis.yaxis.set_major_formatter(mpl.ticker.PercentFormatter(1.0))
        axis.set_ylabel("neurons called interpretable")
        axis.spines[["top", "right"]].set_visible(False)
        figure.suptitle(title, fontsize=9, parse_math=False)
        figure.supxlabel(provenance, fontsize=4.5, color="#555555", wrap=True, parse_math=False)
        out = io.BytesIO()
        name = "Description" if kind == "png" else "Source"
        figure.savefig(out, format=kind, dpi=300, metadata={"Title": title, name: provenance})
    return out.getvalue()
