"""What a command costs with all processes that it starts: seconds of the CPU, of the clock, and peak memory."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

_EVERY = 0.1
"""Seconds between two looks."""


@dataclass(frozen=True)
class Cost:
    """What a command cost.

    Attributes:
        cpu: seconds, user and system, of all its processes.
        wall: seconds.
        peak: most MiB that all its processes held at once. Pages that several share are counted once (PSS).
        output: what it printed.
    """

    cpu: float
    wall: float
    peak: float
    output: str


def measured(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Cost:
    """Run a command and watch its processes.

    A peak that lasts less than a tenth of a second may be missed, and so may the last tenth of a process that is not a
    child of the command itself (Ray's are not).

    Raises:
        SystemExit: the command failed; with what it said.
    """
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as said:
        start = time.perf_counter()
        running = psutil.Popen(list(command), stdout=out, stderr=said, env={**os.environ, **(environment or {})})
        seconds: dict[tuple[int, float], float] = {}
        peak, root, status = 0.0, (running.pid, running.create_time()), None
        while status is None:
            peak = max(peak, _look(running, seconds))
            try:
                status = running.wait(timeout=_EVERY)
            except (psutil.TimeoutExpired, subprocess.TimeoutExpired):
                status = None
        wall = time.perf_counter() - start
        out.seek(0)
        said.seek(0)
        if status:
            raise SystemExit(f"{' '.join(command)} failed:\n{said.read()[-4000:]}")
        # At its end a process knows its own seconds to the last; those of others are as they were seen.
        output = out.read()
        own = [float(line.split()[1]) for line in output.splitlines() if line.startswith("own-cpu ")]
        if own:
            seconds[root] = own[-1]
        return Cost(sum(seconds.values()), wall, peak, output)


def _look(root: psutil.Process, seconds: dict[tuple[int, float], float]) -> float:
    """MiB of all processes now; their seconds so far are written down."""
    held = 0.0
    try:
        processes = [root, *root.children(recursive=True)]
    except psutil.Error:
        return 0.0
    for process in processes:
        try:
            times = process.cpu_times()
            seconds[process.pid, process.create_time()] = times.user + times.system
            held += _proportional(process.pid)
        except (psutil.Error, OSError):
            continue  # it has just ended
    return held


def _proportional(pid: int) -> float:
    """MiB of a process, its share of what it shares with others."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0


def own_cpu() -> str:
    """The line by which a measured process tells its own seconds; print it last."""
    times = os.times()
    return f"own-cpu {times.user + times.system}"
