"""Read and edit activations by TransformerLens's names (`blocks.0.mlp.hook_mid`), without registering hooks.

A `Taps` is an argument of one forward pass. The modules offer it their activations; it keeps the wanted ones
or passes them to a callback, and returns those with which the pass continues. Nothing is registered on the
model, so a pass leaves nothing behind and threads can share a model.
"""

import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from inspect import signature
from typing import SupportsIndex, cast

from torch import Tensor

_BLOCK_POINTS = (
    "hook_resid_pre",
    "hook_attn_out",
    "hook_resid_mid",
    "mlp.hook_pre",
    "mlp.hook_mid",
    "mlp.hook_post",
    "hook_mlp_out",
    "hook_resid_post",
)

Visit = Callable[[str, Tensor], None]
"""A callback that receives the name of a point and its activations."""

Names = str | Iterable[str] | Callable[[str], bool] | None
"""Points of a model: one name, several, a function that is true for the wanted ones, or None for all."""

Edit = Callable[..., Tensor | None]
"""A function `(activations, hook)` that edits activations in place or returns others."""

_EMBEDDING_POINTS = ("hook_embed", "hook_pos_embed")
_MLP_POINTS = ("pre", "mid", "post")
_SHOWN = 12  # names listed in a message


class AllTaken(Exception):
    """Raised to end a forward pass as soon as all wanted activations are taken. It is not an error."""


@dataclass(frozen=True)
class HookPoint:
    """The point at which an `Edit` is called.

    Attributes:
        name: e.g. `blocks.0.mlp.hook_post`.
    """

    name: str

    def layer(self) -> int:
        """Return the layer of the point.

        Raises:
            ValueError: it belongs to no layer, as `hook_embed`.
        """
        parts = self.name.split(".")
        if parts[0] != "blocks":
            raise ValueError(f"{self.name} belongs to no layer")
        return int(parts[1])


class Activations(dict[str, Tensor]):
    """Activations by name, which can also be read in TransformerLens's short form.

    `acts["post", 0]` is `acts["blocks.0.mlp.hook_post"]`, `acts["resid_pre", -1]` is that of the last layer,
    and `acts["embed"]` is `acts["hook_embed"]`.
    """

    def __init__(self, n_layers: int) -> None:
        super().__init__()
        self._n_layers = n_layers

    def __missing__(self, key: object) -> Tensor:
        name = self._full_name(key)
        if name is not None and name in self:
            return self[name]
        taken = _listed(list(self)) or "nothing"
        raise KeyError(
            f"no activation {key!r} was taken, only {taken}: give a name, as "
            '"blocks.0.mlp.hook_post", or its short form, as ("post", 0)'
        )

    def _full_name(self, key: object) -> str | None:
        match key:
            case str(short) if short.startswith(("hook_", "blocks.")):
                return None  # it is a full name already
            case str(short):
                return f"hook_{short}"
            case (str(short), layer):
                short = short.removeprefix("hook_")
                try:
                    index = operator.index(cast(SupportsIndex, layer))
                except TypeError:
                    return None
                index += self._n_layers if index < 0 else 0
                return f"blocks.{index}.{'mlp.' if short in _MLP_POINTS else ''}hook_{short}"
        return None


class Taps:
    """The activations to take from one forward pass, and the edits to make to them.

    Args:
        names: points as in `point_names`, e.g. `blocks.0.mlp.hook_mid`; see `Names`.
        available: the points that the model has.
        stop_early: raise `AllTaken` as soon as the last wanted point has passed.
        visit: receives each tensor when the pass reaches it; then none is kept.
        edits: pairs of points and a function that edits the activations there.

    Attributes:
        wanted: the names.
        edited: the names of points with an edit.
        taken: the activations by name; empty with `visit`.

    Raises:
        TypeError: an argument has another form.
        ValueError: a name is not available; the message lists available ones.
    """

    def __init__(
        self,
        names: Names,
        available: list[str],
        *,
        stop_early: bool = False,
        visit: Visit | None = None,
        edits: Iterable[tuple[Names, Edit]] = (),
    ) -> None:
        self.wanted = frozenset(select_names(names, available))
        self.stop_early = stop_early
        self.taken = Activations(
            n_layers=len({n.split(".")[1] for n in available if n.startswith("blocks.")})
        )
        self._visit = visit
        self._passed: set[str] = set()
        self._edits = _edits_by_name(edits, available)
        self.edited = frozenset(self._edits)

    def take(self, name: str, value: Tensor) -> Tensor:
        """Edit `value`; keep it, or pass it to `visit`, if `name` is wanted.

        Returns:
            The activations with which the pass continues: `value`, unless an edit returned others.

        Raises:
            AllTaken: it was the last wanted point, and `stop_early` is set.
            TypeError, ValueError: an edit returned something else than activations of the same shape.
        """
        for edit in self._edits.get(name, ()):
            value = _edited(name, value, edit)
        if name not in self.wanted:
            return value
        # Detached, so that a kept activation does not keep the graph of the pass in memory.
        if self._visit is None:
            self.taken[name] = value.detach()
        else:
            self._visit(name, value.detach())
        self._passed.add(name)
        if self.stop_early and len(self._passed) == len(self.wanted):
            raise AllTaken
        return value


def select_names(names: Names, available: list[str]) -> list[str]:
    """Return the chosen points.

    Args:
        names: see `Names`.
        available: the points that the model has, in the order of the forward pass.

    Raises:
        TypeError: `names` has another form.
        ValueError: a name is not available; the message lists available ones.
    """
    if names is None:
        return list(available)
    if callable(names):
        return [name for name in available if names(name)]
    try:
        chosen = [names] if isinstance(names, str) else list(names)
    except TypeError:
        chosen = [cast(str, names)]
    if others := [name for name in chosen if not isinstance(name, str)]:
        raise TypeError(
            'names must be a name, as "blocks.0.mlp.hook_post", a list of names, a function that is true for '
            f"the wanted names, or None for all, got {type(others[0]).__name__}: "
            'run_with_cache(tokens, ["blocks.0.mlp.hook_post"])'
        )
    if unknown := sorted(set(chosen) - set(available)):
        raise ValueError(
            f"no activation is called {_listed(unknown)}; this model has {_listed(available)}: "
            "point_names() returns all"
        )
    return chosen


def _edits_by_name(edits: Iterable[tuple[Names, Edit]], available: list[str]) -> dict[str, list[Edit]]:
    by_name: dict[str, list[Edit]] = {}
    idiom = 'fwd_hooks=[("blocks.0.mlp.hook_post", edit)] with edit(activations, hook)'
    for pair in edits:
        if not isinstance(pair, tuple | list) or len(pair) != 2 or pair[0] is None or not callable(pair[1]):
            raise TypeError(f"a hook must be a pair of a name and a function, got {pair!r:.80}: {idiom}")
        names, edit = pair
        try:
            signature(edit).bind(None, hook=None)
        except TypeError as error:
            raise TypeError(f"a hook function must accept (activations, hook), {error}: {idiom}") from None
        except ValueError:  # a builtin without a signature
            pass
        for name in select_names(names, available):
            by_name.setdefault(name, []).append(edit)
    return by_name


def _edited(name: str, value: Tensor, edit: Edit) -> Tensor:
    result = edit(value, hook=HookPoint(name))
    if result is None:
        return value
    if not isinstance(result, Tensor):
        raise TypeError(
            f"the hook function of {name} must return a tensor, or None to keep the activations, "
            f"got {type(result).__name__}"
        )
    if not result.is_floating_point():
        raise TypeError(
            f"the hook function of {name} must return activations, got a tensor of {result.dtype}: a mask is "
            "multiplied with them"
        )
    if result.shape != value.shape:
        raise ValueError(
            f"the hook function of {name} must return activations of shape {list(value.shape)}, "
            f"got {list(result.shape)}"
        )
    return result.to(value.dtype)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(f"{name:.80}" for name in names[:_SHOWN]) + more


def point_names(n_layers: int, *, has_mid: bool) -> list[str]:
    """Return the names of all points of a model, in the order of the forward pass.

    Args:
        n_layers: number of blocks.
        has_mid: True if the model has `hook_mid`, that is, a LayerNorm after the activation. Without one,
            `hook_post` is the activation itself.
    """
    points = [p for p in _BLOCK_POINTS if has_mid or p != "mlp.hook_mid"]
    return [*_EMBEDDING_POINTS, *(f"blocks.{i}.{p}" for i in range(n_layers) for p in points)]
