"""Read activations by the field's names, without hooks.

A `Taps` travels down one forward pass as an argument and keeps the tensors asked for, or hands them on.
Nothing is registered on the model, so nothing is left behind and threads sharing a model don't meet.
"""

from collections.abc import Callable, Iterable

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
"""Takes a point's name and its activations."""


class AllTaken(Exception):
    """Ends a forward pass whose caller wants the activations alone: all of them are in."""


class Taps:
    """The activations to keep from one forward pass.

    Args:
        names: points as in `point_names`, e.g. `blocks.0.mlp.hook_mid`.
        available: the points the model has; any other name is a ValueError that lists them.
        stop_early: raise `AllTaken` as soon as the last wanted point has passed.
        visit: is given each tensor as the pass reaches it, in place of keeping it.
    """

    def __init__(
        self,
        names: Iterable[str],
        available: list[str],
        *,
        stop_early: bool = False,
        visit: Visit | None = None,
    ) -> None:
        self.wanted = frozenset(names)
        self.stop_early = stop_early
        self.taken: dict[str, Tensor] = {}
        self._visit = visit
        self._passed: set[str] = set()
        unknown = sorted(self.wanted - set(available))
        if unknown:
            raise ValueError(
                f"no activation is called {', '.join(unknown)}; this model has {', '.join(available)}"
            )

    def take(self, name: str, value: Tensor) -> None:
        """Keep `value`, or hand it on, if `name` is wanted."""
        if name not in self.wanted:
            return
        if self._visit is None:
            self.taken[name] = value.detach()
        else:
            self._visit(name, value.detach())
        self._passed.add(name)
        if self.stop_early and len(self._passed) == len(self.wanted):
            raise AllTaken


def point_names(n_layers: int, *, has_mid: bool) -> list[str]:
    """Every tap point of a model, in the order of the forward pass.

    Args:
        n_layers: number of blocks.
        has_mid: whether the MLP has a `hook_mid` (false for plain GELU, where `hook_post` follows
            the activation directly).
    """
    points = [p for p in _BLOCK_POINTS if has_mid or p != "mlp.hook_mid"]
    return ["hook_embed", "hook_pos_embed"] + [f"blocks.{i}.{p}" for i in range(n_layers) for p in points]
