"""A neuron's examples as data of the token view, in the groups that a view shows."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.formatting import number, share
from cache.reader import Neuron
from dashboard.shared.address import AddressError
from dashboard.shared.components.token_view import Group, token_view_data
from dashboard.shared.place import Stamp
from dashboard.shared.places import open_cache


def examples_data(
    path: str,
    stamp: Stamp,
    layer: int,
    index: int,
    hook: str,
    view: str,
    only: int | None = None,
    changes: Sequence[npt.NDArray[np.float32]] | None = None,
    changed_by: str = "",
) -> dict[str, Any]:
    """Return the data of the token view for a neuron's examples.

    Args:
        only: number of the one range to show, from the lowest; None: all ranges.
        changes: underlines, see `token_view_data`. changed_by: names them, as a part of the data's version.
    """
    cache = open_cache(path, stamp)
    neuron = cache.neuron(layer, index)
    return token_view_data(
        example_groups(neuron, hook, view, only),
        cache.vocabulary,
        cache.hooks,
        hook,
        f"{path} {stamp} {layer} {index} {hook} {view} {only} {changed_by}",
        strongest=neuron.moments(hook).max,
        changes=changes,
        kept=cache.contexts_kept,
    )


def example_groups(neuron: Neuron, hook: str, view: str, only: int | None = None) -> list[Group]:
    """Return a neuron's examples in the groups of a view: one group, or one for each range, highest first.

    Raises:
        AddressError: there is no range `only`.
    """
    if view == "top":
        return [Group("", neuron.top(hook))]
    if view == "bottom":
        return [Group("", neuron.bottom(hook), kind="bottom")]
    count = max(neuron.moments(hook).count, 1)
    ranges = neuron.ranges(hook)
    if only is not None and only >= len(ranges):
        raise AddressError(
            f"the address says range = {only}: this neuron has ranges 0 to {len(ranges) - 1} at {hook}; "
            "leave it out to see them all"
        )
    return [
        Group(
            "0 and below" if found.high <= 0 else f"{number(found.low)} to {number(found.high)}",
            found.examples,
            f"{found.count:,} tokens, {share(found.count / count)}",
            kind=f"range-{which}",
        )
        for which, found in reversed(list(enumerate(ranges)))
        if only in (None, which)
    ]
