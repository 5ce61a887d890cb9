"""The input of every panel of the editor: activations of the place's neuron on the current text."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dashboard.editor.service import (
    TextTokens,
    activations_by_piece,
    neuron_activations,
    peak_activation,
    tokenize,
)
from dashboard.editor.workspace import ResultKey, Workspace
from dashboard.shared.place import Place
from dashboard.shared.running.running_model import RunningModel, running_model_at


@dataclass(frozen=True)
class CurrentText:
    """Activations of the place's neuron on the workspace's text. Legend: T tokens read."""

    place: Place
    running: RunningModel
    workspace: Workspace
    tokens: TextTokens
    activations: dict[str, npt.NDArray[np.float32]]
    """`[T]` by hook."""
    chosen: int | None
    """Index of the chosen piece; None if there is none."""

    @property
    def chosen_text(self) -> str:
        """The text of the chosen piece; empty if there is none."""
        return "" if self.chosen is None else self.tokens.pieces[self.chosen].text

    @property
    def chosen_token(self) -> int:
        """Index in `tokens.ids` of the last token of the chosen piece.

        Raises:
            ValueError: no piece is chosen.
        """
        if self.chosen is None:
            raise ValueError("no token is chosen, because the text is empty: check `chosen` first")
        piece = self.tokens.pieces[self.chosen]
        return piece.first_token + piece.n_tokens - 1

    @property
    def peak(self) -> float:
        """The highest activation on the text, at the place's hook."""
        return peak_activation(self.activations[self.place.hook])

    @property
    def key(self) -> ResultKey:
        """A key that changes with anything that a panel's result depends on."""
        return (*self.workspace.result_key(self.place), self.tokens.text)


def read_current_text(place: Place, workspace: Workspace) -> CurrentText:
    """Run the model on the workspace's text.

    The chosen piece is the one at the caret. Without a caret, it is the one with the highest activation.

    Raises:
        ModelError: the model cannot be loaded, or its tokenizer fails on the text.
    """
    running = running_model_at(place)
    tokens = tokenize(running, place.cache.vocabulary, workspace.text, workspace.text_end)
    (acts,) = neuron_activations(running, tokens.ids, [(place.layer, place.neuron)], place.cache.hooks)
    chosen = tokens.piece_at(workspace.caret) if workspace.caret is not None else None
    if chosen is None and tokens.pieces:
        chosen = int(np.argmax(activations_by_piece(acts[place.hook], tokens.pieces)))
    return CurrentText(place, running, workspace, tokens, acts, chosen)
