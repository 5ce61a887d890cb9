"""A person's work in the editor: the text, its original, saved variants and pinned neurons."""

import secrets
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import streamlit as st

from cache.format.schema import CacheError
from dashboard.editor.edited_text import MAX_TEXT, as_typed
from dashboard.editor.service import TextEnd, neuron_activations, peak_activation, tokenize
from dashboard.editor.text_store import load_text
from dashboard.shared.example_name import ExampleName
from dashboard.shared.place import Place
from dashboard.shared.running.running_model import RunningModel

SESSION_KEY = "editor_workspace"
COMPONENT_KEY = "live_editor"

_MAX_PEAKS = 500

ResultKey = tuple[object, ...]
"""A cache key: everything that an activation depends on."""


@dataclass
class Workspace:
    """One person's work in the editor, kept for the session."""

    source: str
    """Name of the example or stored text that the address opened; empty for a text begun here."""
    text: str
    """The text as it is now."""
    original: str | None = None
    """The text as it was opened; None for a text begun here."""
    original_detail: str = ""
    """Name and activation of the example that the original is of."""
    text_end: TextEnd = "first"
    caret: int | None = None
    """Offset of the caret in the browser, in UTF-16 code units."""
    variants: list[str] = field(default_factory=list)
    """Texts that the person saved."""
    pins: list[tuple[int, int]] = field(default_factory=list)
    """Layer and index of each pinned neuron."""
    results: dict[str, tuple[ResultKey, Any]] = field(default_factory=dict)
    """Last result of each computation that a panel starts on request, with its key."""
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    """Random identifier, so that two workspaces with the same text differ."""
    n_replaced: int = 0
    """Number of times that the server replaced the text in the browser."""
    _peaks: dict[tuple[ResultKey, str], float] = field(default_factory=dict)

    @property
    def text_id(self) -> str:
        """The identifier that the browser sends with an edit.

        It changes when the server replaces the text, so that an edit of the previous text is not applied.
        """
        return f"{self.id}-{self.n_replaced}"

    def replace_text(self, text: str) -> None:
        """Replace the text, also in the browser."""
        self.text, self.caret = as_typed(text)[:MAX_TEXT], None
        self.n_replaced += 1

    def apply_edit(self) -> bool:
        """Apply the last edit that the browser sent.

        Returns:
            True if there is one for this `text_id`. The browser's text is then the current one, and must
            not be overwritten.
        """
        edit = (st.session_state.get(COMPONENT_KEY) or {}).get("edit")
        if (
            not isinstance(edit, dict)
            or edit.get("text_id") != self.text_id
            or not isinstance(edit.get("text"), str)
        ):
            return False
        caret = edit.get("caret")
        self.text = as_typed(edit["text"][:MAX_TEXT])
        self.caret = caret if isinstance(caret, int) else None
        self.text_end = "last" if edit.get("keep") == "last" else "first"
        return True

    def result_key(self, place: Place) -> ResultKey:
        """Return the key of activations of the place's neuron, except for the text."""
        return (*place.version, place.layer, place.neuron, place.hook, self.text_end)

    def peak(self, place: Place, running: RunningModel, text: str) -> float:
        """Return the highest activation of the place's neuron on a text; computed once."""
        key = self.result_key(place), text
        if key not in self._peaks:
            if len(self._peaks) > _MAX_PEAKS:
                self._peaks.clear()
            ids = tokenize(running, place.cache.vocabulary, text, self.text_end).ids
            (acts,) = neuron_activations(running, ids, [(place.layer, place.neuron)], [place.hook])
            self._peaks[key] = peak_activation(acts[place.hook])
        return self._peaks[key]


def open_workspace(place: Place, example: str, stored_text: str, *, whole: bool = False) -> Workspace:
    """Return the session's workspace, with the text that the address names.

    Args:
        example: name of an example of the place's neuron, or empty.
        stored_text: name of a stored text, or empty.
        whole: open the whole context of the example, not only its window.

    Raises:
        AddressError: a name cannot be read, or the text is not stored here.
        CacheError: the example does not exist, or its whole context is not in the cache.
    """
    last = st.session_state.get(SESSION_KEY)
    source = ""
    if stored_text:
        source = f"text {stored_text}"
    elif example:
        source = f"{place.version} {place.layer} {place.neuron} {place.hook} {example} {whole}"
    if isinstance(last, Workspace) and source in ("", last.source):
        return last
    if stored_text:
        stored = load_text(stored_text)
        workspace = Workspace(source, stored.text[:MAX_TEXT], stored.original)
    elif example:
        text, detail = _example_text(place, ExampleName.parse(example), whole)
        workspace = Workspace(source, text, text, detail)
    else:
        workspace = Workspace(source, "")
    if isinstance(last, Workspace):
        workspace.pins, workspace.text_end = last.pins, last.text_end
    st.session_state[SESSION_KEY] = workspace
    return workspace


def _example_text(place: Place, name: ExampleName, whole: bool) -> tuple[str, str]:
    """Return the text of an example, and its description."""
    tokens, detail = _sampled_tokens(place, name) if name.kind == "sample" else _tokens(place, name, whole)
    data = b"".join(place.cache.vocabulary.token_bytes[int(t)] for t in tokens)
    return as_typed(data.decode("utf-8", errors="replace")), detail


def _tokens(place: Place, name: ExampleName, whole: bool) -> tuple[npt.NDArray[np.int32], str]:
    """Return the tokens of an example's window or whole context, and its description.

    Raises:
        CacheError: the example does not exist, or its whole context is not in the cache.
    """
    example = name.of(place.cache.neuron(place.layer, place.neuron), place.hook)
    tokens = place.cache.context(example) if whole else example.tokens
    if tokens is None:
        raise CacheError(
            "the cache keeps no whole context of this example: open its window instead, or add whole "
            "contexts to the cache with `solu cache contexts`"
        )
    starts_context = whole or example.position - example.peak == example.context_start
    part = "from the start of its context" if starts_context else "without the text before it"
    return tokens, f"{name.label}, {example.value:.4g} in the corpus; here {part}"


def _sampled_tokens(place: Place, name: ExampleName) -> tuple[npt.NDArray[np.int32], str]:
    """Return a context of the cache's sample of whole contexts, and its description.

    Raises:
        CacheError: the sample has no such token.
    """
    contexts = place.cache.sample()["tokens"]
    tokens = contexts[name.group].values.to_numpy() if name.group < len(contexts) else np.array([])
    if name.rank >= len(tokens):
        raise CacheError(
            f"there is no example {name}: the sample of {place.model.name} has {len(contexts):,} contexts, "
            f"and context {name.group} has {len(tokens):,} tokens. Open the example from the lab"
        )
    return tokens, f"{name.label}, from the start of the context"
