"""Processors and memory that this process may use: a container may allow less than the machine has."""

from __future__ import annotations

from pathlib import Path

PROC = Path("/proc")
"""Where the kernel tells of the machine's memory."""

CGROUP = Path("/sys/fs/cgroup")
"""Where it tells of this container's limits."""

_UNLIMITED = 1 << 60  # version 1 of cgroups writes "no limit" as nearly 2**63


def processor_quota(cgroup: Path = CGROUP) -> float | None:
    """Processors that a container may use at a time; None without a limit. Versions 1 and 2 of cgroups."""
    words = _read(cgroup / "cpu.max").split()
    if not words:
        words = [_read(cgroup / "cpu" / f"cpu.cfs_{name}_us") for name in ("quota", "period")]
    quota, period = (_number(word) for word in (words[0], words[-1]))
    return quota / period if quota and period and quota > 0 else None


def memory_limit(cgroup: Path = CGROUP) -> tuple[int, int] | None:
    """(bytes that are left, bytes allowed) of a container; None without a limit. Versions 1 and 2 of cgroups.

    Files that were read and are no longer in use count as left: the kernel gives their memory back when it is needed.
    """
    v1 = cgroup / "memory"
    for limit, used, stat, unused in (
        (cgroup / "memory.max", cgroup / "memory.current", cgroup / "memory.stat", "inactive_file"),
        (v1 / "memory.limit_in_bytes", v1 / "memory.usage_in_bytes", v1 / "memory.stat", "total_inactive_file"),
    ):
        allowed, taken = _number(_read(limit)), _number(_read(used))
        if allowed is not None and taken is not None and allowed < _UNLIMITED:
            return max(0, allowed - max(0, taken - (_field(stat, unused) or 0))), allowed
    return None


def free_memory(proc: Path = PROC) -> int | None:
    """Bytes that the machine can still give; None if it does not tell."""
    kilobytes = _field(proc / "meminfo", "MemAvailable:")
    return None if kilobytes is None else kilobytes * 1024


def available_memory(proc: Path = PROC, cgroup: Path = CGROUP) -> int | None:
    """Bytes that both the machine and the container can still give; None if neither tells."""
    limit = memory_limit(cgroup)
    known = (free_memory(proc), None if limit is None else limit[0])
    return min((value for value in known if value is not None), default=None)


def _field(path: Path, name: str) -> int | None:
    """The number after a name at the begin of a line."""
    for line in _read(path).splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == name:
            return _number(words[1])
    return None


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _number(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None
