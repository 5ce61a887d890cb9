"""Examples as coloured tokens: the data that the browser gets, and the component that draws it.

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
_SAME_BEFORE, _SAME_AFTER = 8, 2  # tokens around the peak that make two examples the same words
_LARGEST = float(np.finfo(np.float32).max)

_mount = st.components.v2.component(
    "solu_token_view",
    html='<section class="view">\n<div class="bar"></div><ol class="list"></ol>'
    '<div class="tip" id="tip" role="tooltip" hidden></div></section>',
    css=style(_HERE, "token_view.css"),
    js=script(_HERE, "token_view.js", shared=("tokens.js", "quantities.js")),
)


def token_view(
    data: dict[str, Any], key: str, address: str = "", on_whole: Callable[[str], None] | None = None
) -> str | None:
    """Draw examples; keep the key when the data changes.

    Args:
        address: of the neuron, as a query string, for links to the editor; empty for none.
        on_whole: called with the name of an example whose whole context was asked for.

    Returns:
        The name of the example that was asked to be edited, in the run after the click.
    """
    more = {"address": address, "asks_whole": on_whole is not None}
    asked = _mount(key=key, data=data | more, on_edit_change=lambda: None, on_whole_change=lambda: None)
    names = {example["name"] for example in data["examples"]}
    if on_whole and asked.whole in names:
        on_whole(asked.whole)
    return asked.edit if asked.edit in names else None


@dataclass(frozen=True)
class Group:
    """Examples under a heading."""

    title: str
    """Empty for none."""
    examples: Sequence[Example]
    detail: str = ""
    """Said beside the title."""
    kind: str = "top"
    """What its examples are called by, with their rank: `top`, `bottom`, `range-2`."""


def token_view_data(
    groups: Sequence[Group],
    vocabulary: Vocabulary,
    hooks: Sequence[str],
    shown: str,
    version: str,
    strongest: float = 0.0,
    changes: Sequence[npt.NDArray[np.float32]] | None = None,
    kept: ContextsKept | None = None,
    entire: bool = False,
    marks: Sequence[npt.NDArray[np.bool_]] | None = None,
    blind: bool = False,
) -> dict[str, Any]:
    """What the browser needs to draw examples, compact: texts once, activations as 256 steps.

    Args:
        groups: in the order to be shown.
        hooks: those that the cache holds.
        shown: the hook that colours the tokens.
        version: changes whenever the data does.
        strongest: a value that has the strongest colour even where no example reaches it.
        changes: underlines: for each example, in order, `[n]` nats that the neuron adds to the
            log-probability of the token that came after each; NaN where none came.
        kept: whose whole contexts can be asked for.
        entire: show all that is given, whatever context is chosen.
        marks: for each example, in order, `[n]` whether a token fits a hypothesis.
        blind: leave out every activation, so that the browser cannot show any.

    Returns:
        `texts`: the pieces of text that occur; `scale`: the value of the strongest colour; `negative`:
        whether some value is low enough to be drawn; `groups`: title, detail and number of examples of
        each; an entry of `examples` has `t` (index of each piece's text), `n` (tokens of each piece, where
        some have several), `v` (by hook: low, high and the steps between, -1 where the value is not
        known), `peak` (a piece), `first` (position in its document of the first token), `start` (whether
        the model saw nothing but the BOS before it), `u` (where changes are given: that of the strongest
        underline, and of each piece one or None), `name` (as in an address), `whole` (whether its whole
        context can be asked for), `same` (the index of an earlier example of its group with the same
        words, or None).
    """
    texts: dict[str, int] = {}
    rows = []
    lowest, highest = 0.0, max(_finite(strongest), 0.0)
    examples = [example for group in groups for example in group.examples]
    names = [f"{group.kind}-{rank}" for group in groups for rank in range(len(group.examples))]
    same = _same_words(groups)
    largest = max((float(np.nanmax(np.abs(c), initial=0.0)) for c in changes or ()), default=0.0)
    for k, example in enumerate(examples):
        activations = {
            hook: np.zeros_like(example.activations[hook]) if blind else example.activations[hook]
            for hook in hooks
        }
        value = 0.0 if blind else _finite(example.value)
        pieces = vocabulary.pieces(example.tokens)
        first = example.position - example.peak
        n_tokens = [p.n_tokens for p in pieces]
        lowest = min(lowest, _finite(float(np.nanmin(activations[shown], initial=0.0))))
        highest = max(highest, value, _finite(float(np.nanmax(activations[shown], initial=0.0))))
        rows.append(
            {
                "t": [texts.setdefault(p.text, len(texts)) for p in pieces],
                "n": n_tokens if max(n_tokens) > 1 else None,
                "v": {hook: _steps(activations[hook], pieces) for hook in hooks},
                "peak": next(
                    i for i, p in enumerate(pieces) if p.first <= example.peak < p.first + p.n_tokens
                ),
                "value": value,
                "first": first,
                "start": first == example.context_start,
                "source": example.document.source,
                "lang": example.document.lang,
                "licence": example.document.licence,
                "origin": example.document.origin,
                "name": names[k],
                "whole": kept is not None and kept.of(names[k].partition("-")[0], _rank(names[k])),
                "same": same[k],
                "u": None if changes is None else [_shortened(largest), _changes(changes[k], pieces)],
                "m": None if marks is None else _marked(marks[k], pieces),
                "fits": None if marks is None else bool(marks[k][example.peak]),
            }
        )
    scale = max(highest, -lowest)
    return {
        "version": version,
        "blind": blind,
        "hooks": list(hooks),
        "shown": shown,
        "entire": entire,
        "scale": scale,
        "negative": scale > 0 and -lowest > 0.02 * scale,
        "texts": list(texts),
        "groups": [[group.title, group.detail, len(group.examples)] for group in groups],
        "examples": rows,
    }


def _steps(activations: np.ndarray[Any, np.dtype[np.float32]], pieces: Sequence[Piece]) -> list[Any]:
    """Low, high and a step from 0 to 255 a piece: of its tokens, the one furthest from zero; -1 where
    there is none but NaN."""
    unknown = np.isnan(activations)
    values = np.nan_to_num(activations.astype(np.float64), nan=0.0, posinf=_LARGEST, neginf=-_LARGEST)
    if len(pieces) != len(values):
        parts = [slice(p.first, p.first + p.n_tokens) for p in pieces]
        values = np.array([max(values[part], key=abs) for part in parts], dtype=np.float64)
        unknown = np.array([unknown[part].all() for part in parts])
    low, high = float(values.min()), float(values.max())
    steps = np.rint((values - low) / (high - low) * 255) if high > low else np.zeros(len(values))
    steps[unknown] = -1
    return [float(f"{low:.6g}"), float(f"{high:.6g}"), steps.astype(int).tolist()]


def _rank(name: str) -> int:
    return int(name.rpartition("-")[2])


def _same_words(groups: Sequence[Group]) -> list[int | None]:
    """For each example the first of its group with the same tokens around the peak; None for that one."""
    found: list[int | None] = []
    for group in groups:
        seen: dict[bytes, int] = {}
        for example in group.examples:
            low = max(0, example.peak - _SAME_BEFORE)
            words = np.asarray(example.tokens[low : example.peak + _SAME_AFTER + 1], dtype=np.int32)
            at = len(found)
            first = seen.setdefault(words.tobytes() + bytes([example.peak - low]), at)
            found.append(None if first == at else first)
    return found


def _changes(changes: npt.NDArray[np.float32], pieces: Sequence[Piece]) -> list[float | None]:
    """A change a piece: of its tokens, the one furthest from zero; None where no token came after it."""
    found = [changes[p.first : p.first + p.n_tokens] for p in pieces]
    finite = [values[np.isfinite(values)].tolist() for values in found]
    return [_shortened(max(values, key=abs)) if values else None for values in finite]


def _marked(marks: npt.NDArray[np.bool_], pieces: Sequence[Piece]) -> list[int]:
    """The pieces with a marked token."""
    return [i for i, p in enumerate(pieces) if marks[p.first : p.first + p.n_tokens].any()]


def _shortened(value: float) -> float:
    return float(f"{value:.3g}")


def _finite(value: float) -> float:
    return float(np.clip(np.nan_to_num(value), -_LARGEST, _LARGEST))
