"""Examples as tokens coloured by activation: the data that the browser gets, and the component that draws it.

The data is text and numbers; the script makes text nodes of it, never HTML.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import streamlit as st

from cache.format.vocabulary import Piece, Vocabulary
from cache.reader import ContextsKept, Example
from dashboard.shared.components.browser_files import script, style

_HERE = Path(__file__).parent
_SAME_BEFORE, _SAME_AFTER = 8, 2
"""Tokens before and after the peak that make two examples the same words."""
_N_STEPS = 255
"""Steps between the lowest and the highest activation of an example: finer than a colour can show, and far
smaller than the numbers themselves."""
_LARGEST = float(np.finfo(np.float32).max)

_mount = st.components.v2.component(
    "solu_token_view",
    html='<section class="view">\n<div class="toolbar"></div><ol class="list"></ol>'
    '<div class="tip" id="tip" role="tooltip" hidden></div></section>',
    css=style(_HERE, "token_view.css"),
    js=script(_HERE, "token_view_options.js", "token_view_readout.js", "token_view.js"),
)


def token_view(
    data: dict[str, Any], key: str, address: str = "", on_whole: Callable[[str], None] | None = None
) -> str | None:
    """Draw examples; keep the key when the data changes.

    Args:
        data: as `token_view_data` returns it.
        address: of the neuron, as a query string, for links to the editor; empty for none.
        on_whole: called with the name of an example when its whole context is requested.

    Returns:
        The name of the example whose "edit" was clicked, in the run after the click.
    """
    more = {"address": address, "offers_context": on_whole is not None}
    result = _mount(key=key, data=data | more, on_edit_change=lambda: None, on_context_change=lambda: None)
    # The browser is not trusted: a name must be one of those that were sent.
    names = {example["name"] for example in data["examples"]}
    if on_whole and result.context in names:
        on_whole(result.context)
    return result.edit if result.edit in names else None


@dataclass(frozen=True)
class Group:
    """Examples under a heading."""

    title: str
    """Empty for none."""
    examples: Sequence[Example]
    detail: str = ""
    """Shown beside the title."""
    kind: str = "top"
    """First part of the names of its examples, before their rank: `top`, `bottom`, `range-2`."""


def token_view_data(
    groups: Sequence[Group],
    vocabulary: Vocabulary,
    hooks: Sequence[str],
    hook: str,
    version: str,
    strongest: float = 0.0,
    changes: Sequence[npt.NDArray[np.float32]] | None = None,
    kept: ContextsKept | None = None,
    entire: bool = False,
    marks: Sequence[npt.NDArray[np.bool_]] | None = None,
    blind: bool = False,
) -> dict[str, Any]:
    """Return what the browser needs to draw examples, compact: each text once, activations as 256 steps.

    Args:
        groups: in the order of the page.
        hooks: the hooks that the cache holds.
        hook: the one that colours the tokens.
        version: changes whenever the data does.
        strongest: a value that has the strongest colour even where no example reaches it.
        changes: underlines: for each example, in order, `[n]` nats that the neuron adds to the
            log-probability of the following token; NaN where none follows.
        kept: the examples whose whole context the cache holds.
        entire: show every token, whatever context the reader has chosen.
        marks: for each example, in order, `[n]` True where a token fits a hypothesis.
        blind: leave out every activation, so that the browser cannot show any.

    Returns:
        `version`, `hooks`, `hook`, `entire` and `blind` as given; `texts`: the distinct texts of pieces;
        `scale`: the activation of the strongest colour; `has_negative`: True where an activation is low
        enough to be drawn in the colour of negative ones; `has_marks`; `largest_change`: nats of the
        strongest underline, None without `changes`; `groups`: `title`, `detail` and `count` of each; and
        `examples`.

        An example has `pieces` (index of each piece in `texts`), `activations` (by hook: `[low, high,
        steps]`, one step for each piece, -1 where the activation is not known), `peak` (index of a piece),
        `value` (activation at the peak), `position` (of its first token in its document), `begins_context`
        (True where the model saw only the BOS before it), `source`, `lang`, `licence`, `origin`, `name` (as
        in an address) and `has_context` (True where the cache holds its whole context). Some also have
        `token_counts` (tokens of each piece, if any has several), `same_as` (index of an earlier example
        of its group with the same words), `changes` (one for each piece, None where no token follows),
        `fitting` (indices of the pieces that fit the hypothesis) and `fits` (True if the peak does).
    """
    texts: dict[str, int] = {}
    rows: list[dict[str, Any]] = []
    lowest, highest = 0.0, max(_finite(strongest), 0.0)
    examples = [example for group in groups for example in group.examples]
    names = [f"{group.kind}-{rank}" for group in groups for rank in range(len(group.examples))]
    same_as = _same_words(groups)
    for k, example in enumerate(examples):
        activations = {
            name: np.zeros_like(example.activations[name]) if blind else example.activations[name]
            for name in hooks
        }
        value = 0.0 if blind else _finite(example.value)
        pieces = vocabulary.pieces(example.tokens)
        position = example.position - example.peak
        token_counts = [p.n_tokens for p in pieces]
        lowest = min(lowest, _finite(float(np.nanmin(activations[hook], initial=0.0))))
        highest = max(highest, value, _finite(float(np.nanmax(activations[hook], initial=0.0))))
        row: dict[str, Any] = {
            "name": names[k],
            "value": value,
            "pieces": [texts.setdefault(p.text, len(texts)) for p in pieces],
            "activations": {name: _steps(activations[name], pieces) for name in hooks},
            "peak": next(i for i, p in enumerate(pieces) if p.first <= example.peak < p.first + p.n_tokens),
            "position": position,
            "begins_context": position == example.context_start,
            "source": example.document.source,
            "lang": example.document.lang,
            "licence": example.document.licence,
            "origin": example.document.origin,
            "has_context": kept is not None and kept.of(names[k].partition("-")[0], _rank(names[k])),
        }
        # Left out where they say nothing: a page of examples is sent at every step from neuron to neuron.
        if max(token_counts) > 1:
            row["token_counts"] = token_counts
        if same_as[k] is not None:
            row["same_as"] = same_as[k]
        if changes is not None:
            row["changes"] = _changes(changes[k], pieces)
        if marks is not None:
            row["fitting"] = _fitting(marks[k], pieces)
            row["fits"] = bool(marks[k][example.peak])
        rows.append(row)
    scale = max(highest, -lowest)
    return {
        "version": version,
        "blind": blind,
        "hooks": list(hooks),
        "hook": hook,
        "entire": entire,
        "scale": scale,
        "has_negative": scale > 0 and -lowest > 0.02 * scale,
        "has_marks": marks is not None,
        "largest_change": None if changes is None else _largest_change(changes),
        "texts": list(texts),
        "groups": [
            {"title": group.title, "detail": group.detail, "count": len(group.examples)} for group in groups
        ],
        "examples": rows,
    }


def _steps(activations: npt.NDArray[np.float32], pieces: Sequence[Piece]) -> list[Any]:
    """Return low, high and a step from 0 to 255 a piece; -1 where every activation of it is NaN.

    A piece of several tokens has the activation that is furthest from zero.
    """
    unknown = np.isnan(activations)
    values = np.nan_to_num(activations.astype(np.float64), nan=0.0, posinf=_LARGEST, neginf=-_LARGEST)
    if len(pieces) != len(values):
        parts = [slice(p.first, p.first + p.n_tokens) for p in pieces]
        values = np.array([max(values[part], key=abs) for part in parts], dtype=np.float64)
        unknown = np.array([unknown[part].all() for part in parts])
    low, high = float(values.min()), float(values.max())
    steps = np.rint((values - low) / (high - low) * _N_STEPS) if high > low else np.zeros(len(values))
    steps[unknown] = -1
    return [float(f"{low:.6g}"), float(f"{high:.6g}"), steps.astype(int).tolist()]


def _rank(name: str) -> int:
    return int(name.rpartition("-")[2])


def _same_words(groups: Sequence[Group]) -> list[int | None]:
    """Return, for each example, the first of its group with the same tokens around the peak, or None."""
    earlier: list[int | None] = []
    for group in groups:
        index_by_words: dict[bytes, int] = {}
        for example in group.examples:
            low = max(0, example.peak - _SAME_BEFORE)
            words = np.asarray(example.tokens[low : example.peak + _SAME_AFTER + 1], dtype=np.int32)
            index = len(earlier)
            first = index_by_words.setdefault(words.tobytes() + bytes([example.peak - low]), index)
            earlier.append(None if first == index else first)
    return earlier


def _changes(changes: npt.NDArray[np.float32], pieces: Sequence[Piece]) -> list[float | None]:
    """Return each piece's change: that of its token furthest from zero; None without a next token."""
    parts = [changes[p.first : p.first + p.n_tokens] for p in pieces]
    finite = [values[np.isfinite(values)].tolist() for values in parts]
    return [_to_three_digits(max(values, key=abs)) if values else None for values in finite]


def _largest_change(changes: Sequence[npt.NDArray[np.float32]]) -> float:
    return _to_three_digits(max((float(np.nanmax(np.abs(c), initial=0.0)) for c in changes), default=0.0))


def _fitting(marks: npt.NDArray[np.bool_], pieces: Sequence[Piece]) -> list[int]:
    """Return the indices of the pieces with a marked token."""
    return [i for i, p in enumerate(pieces) if marks[p.first : p.first + p.n_tokens].any()]


def _to_three_digits(value: float) -> float:
    return float(f"{value:.3g}")


def _finite(value: float) -> float:
    return float(np.clip(np.nan_to_num(value), -_LARGEST, _LARGEST))
