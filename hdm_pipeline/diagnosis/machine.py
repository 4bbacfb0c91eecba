"""Python, processors, memory and open files, as this process may use them: a container may allow less than there is."""

from __future__ import annotations

import os
import platform
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

from hdm_pipeline import __version__
from hdm_pipeline.diagnosis.finding import Finding, ok, problem, warning
from hdm_pipeline.resources import CGROUP, PROC, memory, processor_quota

LEAST_PYTHON = (3, 11)
LEAST_MEMORY = 4 << 30
"""Bytes: about what the default weights, adaptation and a step beside them take."""

LEAST_FILES = 1024
"""Ray and the stores of a scene together have some hundreds of files open."""


def python_findings() -> Iterator[Finding]:
    """The interpreter and the system."""
    told = f"hdm_pipeline {__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    if sys.version_info < LEAST_PYTHON or sys.maxsize < 1 << 32:
        yield problem("python", told, f"use Python {'.'.join(map(str, LEAST_PYTHON))} or newer, of 64 bits")
    elif platform.system() != "Linux":
        yield warning("python", told, "only Linux is tested; use a container or WSL where something fails")
    else:
        yield ok("python", told)
    if (names := sys.getfilesystemencoding()) != "utf-8":
        told = f"written in {names} by this locale: files whose names hold other characters are not found"
        yield warning("names of files", told, "set LC_ALL=C.UTF-8, or PYTHONUTF8=1")


def machine_findings(proc: Path = PROC, cgroup: Path = CGROUP) -> Iterator[Finding]:
    """Processors, memory and open files.

    Args:
        proc: where the kernel tells of memory, and of which groups this process is.
        cgroup: where it tells of this container's limits.
    """
    yield _processors(proc, cgroup)
    yield _memory(proc, cgroup)
    yield from _address_space()
    yield _open_files()


def _processors(proc: Path, cgroup: Path) -> Finding:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = processor_quota(proc, cgroup)
    if quota is not None and quota < usable:
        return warning(
            "processors",
            f"{usable} processors, of which the container allows {quota:g} at a time",
            f"set execution.actors: 1 and execution.threads: {max(1, int(quota))}, or raise the container's quota",
        )
    return ok("processors", f"{usable} processors" + ("" if quota is None else f", and the container allows {quota:g}"))


def _memory(proc: Path, cgroup: Path) -> Finding:
    usable, allowed = memory(proc, cgroup)
    if usable is None:
        return warning("memory", "how much memory is free cannot be told", "leave 4 GB or more to a run")
    limit = "" if allowed is None else f"; the container's limit is {allowed / 1e9:.1f} GB"
    told = f"{usable / 1e9:.1f} GB free{limit}"
    if usable < LEAST_MEMORY:
        return warning("memory", told, "use a smaller tiling.size and execution.actors: 1, or free memory")
    return ok("memory", told)


def _address_space() -> Iterator[Finding]:
    """Nothing where it has no limit, as nearly everywhere."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_AS)
    if allowed != resource.RLIM_INFINITY:
        told = (
            f"limited to {allowed / 1e9:.1f} GB (ulimit -v): libraries reserve far more than they use, and Ray may hang"
        )
        yield warning("address space", told, "ulimit -v unlimited; limit memory by a container, or systemd's MemoryMax")


def _open_files() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    told = "any number of open files" if soft == resource.RLIM_INFINITY else f"{soft} open files allowed"
    if soft != resource.RLIM_INFINITY and soft < LEAST_FILES:
        beyond = hard == resource.RLIM_INFINITY or hard >= LEAST_FILES
        return warning("open files", told, "ulimit -n 65536" if beyond else "ask for a higher hard limit (nofile)")
    return ok("open files", told)
