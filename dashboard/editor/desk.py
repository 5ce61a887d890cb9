"""What lies on a person's desk in the editor: the text, its original, saved variants and pinned neurons."""

import secrets
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import streamlit as st

from cache.format.schema import CacheError
from dashboard.editor.edited_text import MAX_TEXT, as_typed
from dashboard.editor.kept_texts import kept_text
from dashboard.editor.service import TextEnd, TextTokens, neuron_activations, peak_activation, tokenize
from dashboard.shared.example_name import ExampleName
from dashboard.shared.place import Place
from dashboard.shared.running.running_model import RunningModel

SESSION_KEY = "editor_desk"
COMPONENT_KEY = "live_editor"

Version = tuple[object, ...]
"""What an activation depends on beside the text: the cache, the neuron, the hook and the end that is read."""


@dataclass
class Desk:
    """One person's work; kept for the session."""

    source: str
    """What the address named when it was opened; empty for a text begun here."""
    text: str
    """As it is now."""
    original: str | None = None
    title: str = ""
    """Of the original."""
    detail: str = ""
    reset: int = 0
    """Counts the texts that were put into the browser from here."""
    caret: int | None = None
    keep: TextEnd = "first"
    variants: list[str] = field(default_factory=list)
    pins: list[tuple[int, int]] = field(default_factory=list)
    """Layer and neuron of each."""
    results: dict[str, tuple[Version, Any]] = field(default_factory=dict)
    """By panel: what was asked for last, and what it depends on."""
    name: str = field(default_factory=lambda: secrets.token_hex(8))
    """Of this desk alone: another one with the same text on it has another."""
    _peaks: dict[tuple[Version, str], float] = field(default_factory=dict)

    @property
    def work(self) -> str:
        """What the browser is at work on: this desk, since a text was last put on it from here."""
        return f"{self.name}-{self.reset}"

    def put(self, text: str) -> None:
        """Put a text into the editor in place of what is there."""
        self.text, self.caret = as_typed(text)[:MAX_TEXT], None
        self.reset += 1

    def take_edit(self) -> bool:
        """Take over what was typed since; whether the browser's text is the one that counts."""
        edit = (st.session_state.get(COMPONENT_KEY) or {}).get("edit")
        if (
            not isinstance(edit, dict)
            or edit.get("work") != self.work
            or not isinstance(edit.get("text"), str)
        ):
            return False
        caret = edit.get("caret")
        self.text = as_typed(edit["text"][:MAX_TEXT])
        self.caret = caret if isinstance(caret, int) else None
        self.keep = "last" if edit.get("keep") == "last" else "first"
        return True

    def version(self, place: Place) -> Version:
        """What a value of a text depends on beside it."""
        return (*place.version, place.layer, place.neuron, place.hook, self.keep)

    def peak(self, place: Place, live: RunningModel, text: str) -> float:
        """The highest activation of the place's neuron on a text, computed once."""
        key = self.version(place), text
        if key not in self._peaks:
            if len(self._peaks) > 500:
                self._peaks.clear()
            ids = tokenize(live, place.cache.vocabulary, text, self.keep).ids
            found = neuron_activations(live, ids, [(place.layer, place.neuron)], [place.hook])
            self._peaks[key] = peak_activation(found[0][place.hook])
        return self._peaks[key]


@dataclass(frozen=True)
class Reading:
    """The text on the desk as the place's neuron reads it now: what a panel is given."""

    place: Place
    live: RunningModel
    desk: Desk
    tokens: TextTokens
    values: dict[str, npt.NDArray[np.float32]]
    """By hook, a value a token."""
    at: int | None
    """The chosen piece: at the caret, or where the activation is highest."""

    @property
    def word(self) -> str:
        """The chosen piece's text; empty where there is none."""
        return "" if self.at is None else self.tokens.pieces[self.at].text

    @property
    def peak(self) -> float:
        """The highest activation on the text, at the place's hook."""
        return peak_activation(self.values[self.place.hook])

    @property
    def position(self) -> int:
        """Index among the tokens of the chosen piece's last token.

        Raises:
            ValueError: no piece is chosen.
        """
        if self.at is None:
            raise ValueError("no token is chosen: there is no text")
        piece = self.tokens.pieces[self.at]
        return piece.first_token + piece.n_tokens - 1

    @property
    def version(self) -> Version:
        """What the panels' results depend on, the text included."""
        return (*self.desk.version(self.place), self.tokens.text)


def desk_for(place: Place, example: str, text: str, *, whole: bool = False) -> Desk:
    """The session's desk, with what the address names on it.

    Args:
        example: name of an example of the place's neuron, or empty.
        text: identifier of a kept text, or empty.
        whole: take the whole context of the example, not the words around its peak.

    Raises:
        AddressError: either cannot be read, or the text is not kept here.
        CacheError: there is no such example, or its whole context is not kept.
    """
    last = st.session_state.get(SESSION_KEY)
    named = f"{place.version} {place.layer} {place.neuron} {place.hook} {example} {whole}" if example else ""
    source = f"text {text}" if text else named
    if isinstance(last, Desk) and source in ("", last.source):
        return last
    if text:
        kept = kept_text(text)
        desk = Desk(source, kept.text[:MAX_TEXT], kept.original, "Original")
    elif example:
        desk = _opened_example(place, ExampleName.parse(example), source, whole)
    else:
        desk = Desk(source, "")
    if isinstance(last, Desk):
        desk.pins, desk.keep = last.pins, last.keep
    st.session_state[SESSION_KEY] = desk
    return desk


def _opened_example(place: Place, name: ExampleName, source: str, whole: bool) -> Desk:
    if name.kind == "sample":
        tokens, detail = _sampled_context(place, name)
    else:
        tokens, detail = _tokens_of(place, name, whole)
    data = b"".join(place.cache.vocabulary.token_bytes[int(t)] for t in tokens)
    text = as_typed(data.decode("utf-8", errors="replace"))
    return Desk(source, text, text, "Original", detail)


def _tokens_of(place: Place, name: ExampleName, whole: bool) -> tuple[npt.NDArray[np.int32], str]:
    """The tokens of an example, of its window or of its whole context, and what is said of it.

    Raises:
        CacheError: there is no such example, or its whole context is not kept.
    """
    found = name.of(place.cache.neuron(place.layer, place.neuron), place.hook)
    tokens = place.cache.context(found) if whole else found.tokens
    if tokens is None:
        raise CacheError(
            "the cache keeps no whole context of this example: open the words around its peak, or have "
            "`solu cache contexts` put whole contexts beside it"
        )
    whole = whole or found.position - found.peak == found.context_start
    seen = "from the beginning of its context" if whole else "without the text that stood before it"
    return tokens, f"{name.label}, {found.value:.4g} in the corpus; here {seen}"


def _sampled_context(place: Place, name: ExampleName) -> tuple[npt.NDArray[np.int32], str]:
    """The tokens of a context of the cache's sample, and what is said of it.

    Raises:
        CacheError: the sample has no such token.
    """
    contexts = place.cache.sample()["tokens"]
    tokens = contexts[name.interval].values.to_numpy() if name.interval < len(contexts) else np.array([])
    if name.rank >= len(tokens):
        raise CacheError(
            f"the sample of {place.model.name} has {len(contexts)} contexts, and none holds a token "
            f"called {name}: open it from the lab"
        )
    return tokens, f"{name.label}, from the beginning of the context"
