"""A Ray cluster to build a cache on: reach it, see what fits on it, hear what became of a task."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from cache.building.engine import Options
from cache.format.schema import CacheError

RETRIES = 4
"""Times that a task is tried again when its worker died or a store failed."""
SHARDS_A_SLOT = 4
"""For every task that can run at once, so that a dead worker costs one of them."""
_RESOURCES = {"num_cpus": "CPU", "num_gpus": "GPU", "memory": "memory"}
_SECONDS_TO_CONNECT = 10.0


def installed() -> Any:
    """The module `ray`.

    Raises:
        CacheError: it is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise CacheError("--engine ray needs Ray, here and on every node: pip install ray") from error
    return ray


@contextmanager
def connected(ray: Any, address: str | None) -> Iterator[None]:
    """A cluster to work on, left as it was found.

    Raises:
        CacheError: there is none at the address.
    """
    if ray.is_initialized() and address is None:
        yield
        return
    address = address or os.environ.get("RAY_ADDRESS")
    if address is None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # else Ray reports home
        how: dict[str, Any] = {"address": "local", "include_dashboard": False}
    else:
        how = {"address": address}
        _answers(address)
    try:
        ray.init(log_to_driver=False, logging_level="ERROR", **how)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise CacheError(
            f"no Ray cluster can be had at {address or 'this machine'}: {error}. "
            "One that asks for a token wants RAY_AUTH_MODE=token and that token, as on its nodes"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _answers(address: str) -> None:
    """Raise CacheError where nothing listens at HOST:PORT: Ray itself would wait for many minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), _SECONDS_TO_CONNECT).close()
    except OSError as error:
        raise CacheError(
            f"nothing answers at {address} ({error}): start a cluster there with `ray start --head`, or give "
            "another --address"
        ) from error


def fitted(ray: Any, options: Options) -> Options:
    """The options with the device and the threads of a task decided, the same for all.

    Raises:
        CacheError: such a task fits on no node.
    """
    device = options.device or ("cuda" if ray.cluster_resources().get("GPU") else "cpu")
    device = device.partition(":")[0]  # a task sees the one GPU that it is given
    options = replace(options, device=device, n_threads=options.n_threads or 1)
    slots(ray, needs(options))
    return options


def needs(options: Options, memory: int = 0) -> dict[str, int]:
    """What a task that runs the model takes of its node, as Ray's options call it."""
    return {"num_cpus": options.n_threads or 1, "num_gpus": int(options.device != "cpu"), "memory": memory}


def slots(ray: Any, needed: dict[str, int]) -> int:
    """Tasks that can run at once.

    Raises:
        CacheError: none, on which Ray would wait for a larger node to come.
    """
    n = 0
    for node in ray.nodes():
        if node["Alive"]:
            has = {name: node["Resources"].get(key, 0) for name, key in _RESOURCES.items()}
            n += min(int(has[name] // amount) for name, amount in needed.items() if amount)
    if not n:
        raise CacheError(
            f"no node of the cluster has {needed['num_cpus']} cores, {needed['num_gpus']} GPUs and "
            f"{needed['memory'] / 1e9:.1f} GB of memory for a task: fewer --threads, --device cpu, fewer "
            "layers at a time (--layer), or --no-by-token ask for less"
        )
    return n


def got(ray: Any, task: Any) -> Any:
    """A task's result, or the error that ended it."""
    try:
        return ray.get(task)
    except ray.exceptions.RayTaskError as error:
        cause: BaseException = error
        while isinstance(cause, ray.exceptions.RayTaskError) and isinstance(cause.cause, BaseException):
            cause = cause.cause
        raise cause from None
    except ray.exceptions.RayError as error:
        raise CacheError(
            f"the cluster gave up on a task, after {RETRIES} retries where its worker died ({error}): "
            "the same command goes on with the shards that are whole"
        ) from error
