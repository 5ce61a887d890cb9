"""A Ray cluster that builds a cache: connect to it, find room for tasks, get their results."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from cache.building.engine import Options
from cache.format.schema import CacheError

RETRIES = 4
"""Retries of a task whose worker died or whose store failed."""
SHARDS_PER_SLOT = 4
"""Shards for each task that can run at the same time: a dead worker costs one shard alone."""
_NODE_RESOURCES = {"num_cpus": "CPU", "num_gpus": "GPU", "memory": "memory"}
_SECONDS_TO_CONNECT = 10.0


def import_ray() -> Any:
    """Return the module `ray`.

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
    """Connect to a cluster for the length of the block; one that this process is connected to stays so.

    Args:
        ray: the module.
        address: HOST:PORT; where None that of RAY_ADDRESS, or a new cluster on this machine.

    Raises:
        CacheError: there is no cluster at the address.
    """
    if ray.is_initialized() and address is None:
        yield
        return
    address = address or os.environ.get("RAY_ADDRESS")
    if address is None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # else Ray sends usage statistics to its makers
        arguments: dict[str, Any] = {"address": "local", "include_dashboard": False}
    else:
        arguments = {"address": address}
        _check_reachable(address)
    try:
        ray.init(log_to_driver=False, logging_level="ERROR", **arguments)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise CacheError(
            f"cannot connect to a Ray cluster at {address or 'this machine'}: {error}. "
            "If it requires a token, set RAY_AUTH_MODE=token and the token as on its nodes"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Raise CacheError if nothing listens at HOST:PORT; Ray itself would wait for many minutes."""
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


def with_resources(ray: Any, options: Options) -> Options:
    """Return the options with device and threads filled in, the same for all tasks.

    Raises:
        CacheError: such a task fits on no node.
    """
    device = options.device or ("cuda" if ray.cluster_resources().get("GPU") else "cpu")
    device = device.partition(":")[0]  # a task sees only the GPU that Ray gives it, as cuda:0
    options = replace(options, device=device, n_threads=options.n_threads or 1)
    count_slots(ray, task_resources(options))
    return options


def task_resources(options: Options, memory: int = 0) -> dict[str, int]:
    """Return the resources of a task that runs the model, by their names in Ray; memory in bytes."""
    return {"num_cpus": options.n_threads or 1, "num_gpus": int(options.device != "cpu"), "memory": memory}


def count_slots(ray: Any, needed: dict[str, int]) -> int:
    """Return the number of tasks with these resources that can run at the same time.

    Raises:
        CacheError: no node has room for one; Ray itself would wait for a larger node.
    """
    n = 0
    for node in ray.nodes():
        if node["Alive"]:
            free = {name: node["Resources"].get(key, 0) for name, key in _NODE_RESOURCES.items()}
            n += min(int(free[name] // amount) for name, amount in needed.items() if amount)
    if not n:
        raise CacheError(
            f"no node of the cluster has {needed['num_cpus']} cores, {needed['num_gpus']} GPUs and "
            f"{needed['memory'] / 1e9:.1f} GB of memory for a task: ask for less with fewer --threads, "
            "--device cpu, fewer layers at a time (--layer), or --no-by-token"
        )
    return n


def result_of(ray: Any, task: Any) -> Any:
    """Return the result of a task, or raise the error that ended it.

    Raises:
        CacheError: the cluster gave up on the task.
    """
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
            "the same command resumes with the complete shards"
        ) from error
