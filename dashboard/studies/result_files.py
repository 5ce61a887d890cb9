"""Downloads of a study's results: the figure for a paper, and a script that computes the results again."""

import io
from collections.abc import Sequence
from typing import Literal

from analysis.rating.results import Results
from dashboard.shared.palette import FAINT_INK, INK, SMALL_PRINT
from dashboard.shared.paper_figures import WIDTH
from dashboard.studies.charts import BAR_WIDTH, RATER_OFFSET, SideStyle

SCRIPT = '''"""Compute the results of a rating study again, from its downloaded ratings.

Needs SoLU Explorer installed:  python recompute.py ratings.csv
"""

import sys

from analysis.rating import read_ratings, compute_results, results_to_json, summary_sentences

SIDES = {sides!r}

study = compute_results(read_ratings(sys.argv[1] if len(sys.argv) > 1 else "ratings.csv"), SIDES)
print(*summary_sentences(study), sep="\\n", file=sys.stderr)
sys.stdout.buffer.write(results_to_json(study))
'''


def recompute_script(sides: list[str]) -> bytes:
    """Return a Python script that computes the same `results.json` from `ratings.csv`.

    Args:
        sides: names of the sides in the study's order.
    """
    return SCRIPT.format(sides=sides).encode()


def share_figure_file(
    study: Results,
    styles: Sequence[SideStyle],
    title: str,
    provenance: str,
    kind: Literal["svg", "png"],
) -> bytes:
    """Draw the paper's Figure 4: a bar for each side with its 95% interval; with several raters, circles.

    Args:
        study: its results.
        styles: of the sides, in their order.
        title: above the figure.
        provenance: in small print below the figure, and in the file's metadata.
        kind: format of the file.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context({"font.size": 8, "svg.fonttype": "none"}):  # text stays text in an SVG
        figure = Figure(figsize=(WIDTH, 2.8), layout="constrained")
        FigureCanvasAgg(figure)
        axis = figure.subplots()
        for k, side in enumerate(study.sides):
            if side.n_neurons:
                s, (colour, pattern) = side.share, styles[k]
                errors = [[s.value - s.low], [s.high - s.value]]
                axis.bar(k, s.value, BAR_WIDTH, color=f"{colour}80", edgecolor=colour, hatch=2 * pattern)
                axis.errorbar(k, s.value, errors, color=INK, capsize=4, linewidth=1)
            shares = [r.shares[k].share.value for r in study.raters if r.shares[k].n]
            if len(study.raters) > 1:
                x = [k + RATER_OFFSET] * len(shares)
                axis.plot(x, shares, "o", mfc="none", color=FAINT_INK, markersize=5)
        axis.set_xticks(
            range(len(study.sides)),
            [f"{side.side}\n{side.n_neurons} neurons" for side in study.sides],
            parse_math=False,
        )
        axis.set_ylim(0, 1)
        axis.yaxis.set_major_formatter(mpl.ticker.PercentFormatter(1.0))
        axis.set_ylabel("neurons called interpretable")
        axis.spines[["top", "right"]].set_visible(False)
        figure.suptitle(title, fontsize=9, parse_math=False)
        figure.supxlabel(provenance, fontsize=4.5, color=SMALL_PRINT, wrap=True, parse_math=False)
        out = io.BytesIO()
        name = "Description" if kind == "png" else "Source"
        figure.savefig(out, format=kind, dpi=300, metadata={"Title": title, name: provenance})
    return out.getvalue()
