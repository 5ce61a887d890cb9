"""Write a neuron as one HTML file without network and scripts, light or dark as the reader's system.

All text is escaped, and the page's content security policy forbids it to run or load anything.
"""

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from analysis.formatting import number, share
from analysis.histogram_bars import Bars
from dashboard.neuron.exports.neuron_record import Record, provenance_text
from dashboard.shared.display_names import hook_title
from dashboard.shared.palette import HOOK_COLOURS

_STYLE = Path(__file__).with_name("html_page.css").read_text(encoding="utf-8")
_KINDS = {"strongest": "Strongest examples", "range": "Sampled by range", "weakest": "Weakest examples"}
_QUANTITIES = ("max", "min", "mean", "std", "skewness", "kurtosis")


def neuron_page(record: Record, bars: Mapping[str, Bars], shown: str) -> str:
    """Return the HTML of the page.

    Args:
        bars: histograms by hook.
        shown: the hook whose examples the page shows.
    """
    title = f"{record['model']} · layer {record['layer']} · neuron {record['neuron']}"
    hook = record["hooks"][shown]
    parts = [
        f"<h1>{escape(title)}</h1>",
        *(_annotation(a) for a in record["annotations"]),
        f'<p class="small">{escape(provenance_text(record, shown))}</p>',
        '<div class="figures">',
        *(_histogram(bars[name], name, len(bars)) for name in bars),
        "</div>",
        '<div class="figures">',
        _moments(record),
        _table("Tokens", ("token", "mean", "count"),
               [(t["text"], number(t["mean"]), f"{t['count']:,}") for t in hook["tokens"]]),
        _table("Sources", ("source", "share of activation"),
               [(s["source"], share(s["share"])) for s in hook["sources"]]),
        "</div>",
    ]  # fmt: skip
    strongest = max((abs(v) for e in hook["examples"] for v in e["activations"][shown] if v), default=0.0)
    for kind, heading in _KINDS.items():
        of_kind = [e for e in hook["examples"] if e["kind"] == kind]
        if of_kind:
            parts.append(f"<h2>{heading} · {escape(shown)}</h2><ol>")
            parts += [_example(e, shown, strongest) for e in of_kind]
            parts.append("</ol>")
    rows = [(key, str(value)) for key, value in record["provenance"].items()]
    parts.append(_table("Provenance", ("what", "value"), rows))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><main>"
        + "\n".join(filter(None, parts))
        + "</main></body></html>\n"
    )


def _annotation(a: Record) -> str:
    parts = [a["label"], a["verdict"], a["note"]]
    star = "★ " if a["star"] else ""
    text = " · ".join(escape(part) for part in parts if part)
    who = f'<span class="small">{escape(a["user"])}, {a["changed"][:10]}</span>'
    return f'<p class="said">{star}{text} {who}</p>'


def _example(example: Record, shown: str, strongest: float) -> str:
    """Return an example as a list item, its tokens tinted by activation: red above zero, blue below."""
    values, peak = example["activations"][shown], example["peak"]
    pieces = []
    for piece in example["pieces"]:
        first, end = piece["first"], piece["first"] + piece["n_tokens"]
        value = max((v or 0.0 for v in values[first:end]), key=abs, default=0.0)
        depth = round(abs(value) / strongest, 2) if strongest else 0.0
        classes = "peak " * (first <= peak < end) + ("low" if value < 0 else "")
        style = f' style="--a:{depth:g}"' if depth else ""
        kind = f' class="{classes.strip()}"' if classes.strip() else ""
        pieces.append(f'<span{kind}{style} title="{number(value)}">{escape(piece["text"])}</span>')
    within = ""
    if example["kind"] == "range":
        ends = [number(math.nan if x is None else x) for x in (example["range_low"], example["range_high"])]
        within = f"of {ends[0]} to {ends[1]} · "
    origin = " · ".join(
        filter(None, (example["source"], example["lang"], example["licence"], example["origin"]))
    )
    value = math.nan if example["value"] is None else example["value"]
    return (
        f'<li><p class="small"><b>{number(value)}</b> {within}{escape(origin)}</p>'
        f'<p class="text">{"".join(pieces)}</p></li>'
    )


def _histogram(bars: Bars, hook: str, n_hooks: int) -> str:
    """Return a histogram of log counts as an SVG, with the ends of both axes."""
    width, height, top = 360.0, 130.0, 16.0
    low, high = float(bars.edges[0]), float(bars.edges[-1])
    highest = max(int(bars.counts.max()), 1)
    scale = width / (high - low)
    rectangles = []
    for left, right, count in zip(bars.edges[:-1], bars.edges[1:], bars.counts, strict=True):
        if count:
            tall = height * math.log10(1 + count) / math.log10(1 + highest)
            rectangles.append(
                f'<rect x="{(left - low) * scale:.1f}" y="{top + height - tall:.1f}" '
                f'width="{max((right - left) * scale, 0.5):.1f}" height="{tall:.1f}">'
                f"<title>{number(left)} to {number(right)}: {count:,} tokens</title></rect>"
            )
    title = hook_title(hook, n_hooks > 1)
    return (
        f"<figure><figcaption>{escape(title)}, log counts to {highest:,}</figcaption>"
        f'<svg viewBox="0 0 {width:g} {top + height + 16:g}" role="img" aria-label="{escape(title)}">'
        f'<g fill="{HOOK_COLOURS[hook]}">{"".join(rectangles)}</g>'
        f'<text x="0" y="{top + height + 13:g}">{number(low)}</text>'
        f'<text x="{width:g}" y="{top + height + 13:g}" text-anchor="end">{number(high)}</text>'
        "</svg></figure>"
    )


def _moments(record: Record) -> str:
    hooks = record["hooks"]
    rows = [
        (name, *(number(math.nan if (v := part["moments"][name]) is None else v) for part in hooks.values()))
        for name in _QUANTITIES
    ]
    return _table("Moments", ("", *hooks), rows)


def _table(title: str, columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    if not rows:
        return ""
    head = "".join(f'<th scope="col">{escape(c)}</th>' for c in columns)
    body = "".join(
        f'<tr><th scope="row">{escape(first)}</th>{"".join(f"<td>{escape(v)}</td>" for v in rest)}</tr>'
        for first, *rest in rows
    )
    return f"<section><h2>{title}</h2><table><tr>{head}</tr>{body}</table></section>"
