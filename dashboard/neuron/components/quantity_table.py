"""A small table of numbers as HTML, denser than Streamlit's own. All text is escaped."""

from collections.abc import Sequence
from html import escape

_STYLE = """
table.quantities { border-collapse: collapse; width: 100%; font-size: 13px; }
table.quantities td { font-variant-numeric: tabular-nums; }
table.quantities th { font-weight: 600; }
table.quantities th, table.quantities td { padding: 2px 6px; text-align: right; }
table.quantities th[scope=row] { font-weight: 400; text-align: left; padding-left: 0; }
table.quantities tr + tr { border-top: 1px solid rgb(128 128 128 / 22%); }
"""


def quantity_table(columns: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]]) -> str:
    """Return a table as HTML.

    Args:
        columns: their heads.
        rows: a label, and a value for each column.
    """
    head = "".join(f'<th scope="col">{escape(c)}</th>' for c in columns)
    body = "".join(
        f'<tr><th scope="row">{escape(label)}</th>'
        + "".join(f"<td>{escape(v)}</td>" for v in values)
        + "</tr>"
        for label, values in rows
    )
    return f'<style>{_STYLE}</style><table class="quantities"><tr><td></td>{head}</tr>{body}</table>'
