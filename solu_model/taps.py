"""Read activations by TransformerLens's names (`blocks.0.mlp.hook_mid`), without registering hooks.

A `Taps` is an argument of one forward pass. The modules offer it their activations; it keeps the wanted ones
or passes them to a callback. Nothing is registered on the model, so a pass leaves nothing behind and threads
can share a model.
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
"""A callback that receives the name of a point and its activations."""


class AllTaken(Exception):
    """Raised to end a forward pass as soon as all wanted activations are taken. It is not an error."""


class Taps:
    """The activations to take from one forward pass.

    Args:
        names: points as in `point_names`, e.g. `blocks.0.mlp.hook_mid`.
        available: the points that the model has.
        stop_early: raise `AllTaken` as soon as the last wanted point has passed.
        visit: receives each tensor when the pass reaches it; then none is kept.

    Attributes:
        wanted: the names.
        taken: the activations by name; empty with `visit`.

    Raises:
        ValueError: a name is not available; the message lists the available ones.
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
        """Keep `value`, or pass it to `visit`, if `name` is wanted.

        Raises:
            AllTaken: it was the last wanted point, and `stop_early` is set.
        """
        if name not in self.wanted:
            return
        # Detached, so that a kept activation does not keep the graph of the pass in memory.
        if self._visit is None:
            self.taken[name] = value.detach()
        else:
            self._visit(name, value.detach())
        self._passed.add(name)
        if self.stop_early and len(self._passed) == len(self.wanted):
            raise AllTaken


def point_names(n_layers: int, *, has_mid: bool) -> list[str]:
    """Return the names of all points of a model, in the order of the forward pass.

    Args:
        n_layers: number of blocks.
        has_mid: True if the model has `hook_mid`, that is, a LayerNorm after the activation. Without one,
            `hook_post` is the activation itself.
    """
    points = [p for p in _BLOCK_POINTS if has_mid or p != "mlp.hook_mid"]
    return ["hook_embed", "hook_pos_embed"] + [f"blocks.{i}.{p}" for i in range(n_layers) for p in points]
