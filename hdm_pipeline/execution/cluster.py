"""The Ray cluster of a run: joined or started, and how its processors are shared out among actors."""

from __future__ import annotations

import logging
import re
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import ray
import ray.exceptions
from ray._private import ray_constants

from hdm_pipeline.config.schema import Execution
from hdm_pipeline.errors import ExecutionError

_OBJECT_STORE = 256 << 20
"""Bytes. Only the model bundle and receipts pass through the object store of a Ray that we start ourselves."""


_HOST_PORT = re.compile(r"(ray://)?(?P<host>[^/:]+|\[[0-9a-fA-F:.]+\]):(?P<port>\d{1,5})")

_TELLING = (ray.exceptions.RayError, OSError, ValueError, RuntimeError)
"""What `ray.init` raises where it cannot start or reach a cluster."""

_PATIENCE = 20.0
"""Seconds for a cluster to answer a connection."""


@dataclass(frozen=True)
class Shares:
    """What each actor gets of the cluster.

    Attributes:
        actors: that hold the model.
        gpus: of each such actor; 0 to infer on the CPU.
        threads: of each such actor.
        steps: other steps that run at once.
        alone: all of them run on this machine, and see its disk.
    """

    actors: int
    gpus: float
    threads: int
    steps: int
    alone: bool = False

    @classmethod
    def of(cls, config: Execution, cpus: int, gpus: float) -> Shares:
        """Share out `cpus` and `gpus` as the configuration asks.

        Raises:
            ExecutionError: an actor asks for more GPUs than there are.
        """
        gpus_each = _gpus_per_actor(config, gpus)
        actors = _actor_count(config, cpus, gpus, gpus_each)
        threads = config.threads if isinstance(config.threads, int) else max(1, cpus // actors)
        return cls(actors, gpus_each, threads, steps=max(2, cpus))


@contextmanager
def cluster(config: Execution) -> Iterator[Shares]:
    """Within: Ray is connected to `execution.address`, or to a local cluster that is started for it and then ended.

    A connection that this process has already is used, and kept.

    Raises:
        ExecutionError: Ray cannot be reached or started, or has too few GPUs.
    """
    ours = not ray.is_initialized()
    if ours:
        _connect(config)
    try:
        resources = ray.cluster_resources()  # type: ignore[no-untyped-call]
        shares = Shares.of(config, int(resources.get("CPU", 1)), resources.get("GPU", 0.0))
        yield replace(shares, alone=ours and config.address is None)
    finally:
        if ours:
            ray.shutdown()


@contextmanager
def _on_loopback() -> Iterator[None]:
    """Within: a Ray that is started binds all its ports to loopback, as it does by itself on macOS and Windows.

    Ray has no option for it: `ray.init` replaces 127.0.0.1 by an address that others reach. This switch is read from
    the environment when ray is imported, which may be before us; a test looks at the sockets.
    """
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def _connect(config: Execution) -> None:
    if sys.flags.optimize >= 2:  # its processes look into docstrings as they start: half a minute later nobody answers
        raise ExecutionError(
            "cannot start or join Ray: Python leaves docstrings out, which Ray needs",
            where="PYTHONOPTIMIZE=2 (python -OO)",
            remedy="unset it, or use --executor inline",
        )
    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if config.address is not None:
        _knock(config.address)
        options["address"] = config.address
    else:
        # A plain ray.init() would attach to any cluster on the host.
        options |= {"address": "local", "include_dashboard": False, "object_store_memory": _OBJECT_STORE}
    try:
        with _on_loopback() if config.address is None else nullcontext():
            ray.init(**options)
    except Exception as error:
        # That a node did not come up in time is told by an exception of no type of its own.
        if type(error) is not Exception and not isinstance(error, _TELLING):
            raise
        raise _unreachable(str(error), config.address) from error


def _knock(address: str) -> None:
    """Whether anybody listens there: Ray itself tries for minutes, and cannot be stopped meanwhile."""
    found = _HOST_PORT.fullmatch(address)
    if found is None:
        return
    try:
        socket.create_connection((found["host"].strip("[]"), int(found["port"])), timeout=_PATIENCE).close()
    except OSError as error:
        raise _unreachable(error.strerror or str(error), address) from error


def _unreachable(said: str, address: str | None) -> ExecutionError:
    if address is None:
        remedy = (
            "check room and rights of Ray's folder (/tmp/ray, or RAY_TMPDIR), start again when the machine is less "
            "busy, or use --executor inline"
        )
        return ExecutionError(f"cannot start Ray: {said}", where="local", remedy=remedy)
    remedy = (
        "check execution.address and the cluster, and that RAY_AUTH_MODE and the token are here what they are on its "
        "nodes; or use --executor inline"
    )
    return ExecutionError(f"cannot reach or start Ray: {said}", where=address, remedy=remedy)


def _gpus_per_actor(config: Execution, gpus: float) -> float:
    if config.gpus_per_actor == "auto":
        return 1.0 if gpus >= 1 else 0.0
    if config.gpus_per_actor > gpus:
        raise ExecutionError(
            f"an actor asks for {config.gpus_per_actor:g} GPUs, the cluster has {gpus:g}",
            where="execution.gpus_per_actor",
            remedy="lower it, or join a cluster with GPUs",
        )
    return float(config.gpus_per_actor)


def _actor_count(config: Execution, cpus: int, gpus: float, gpus_per_actor: float) -> int:
    if config.actors != "auto":
        return config.actors
    if gpus_per_actor:
        return max(1, int(gpus / gpus_per_actor))
    # One actor with several threads would wait for its slowest thread; one per two cores leaves room for staging.
    return max(1, cpus // 2)
