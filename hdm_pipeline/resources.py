"""Processors and memory that this process may use: a container may allow less than the machine has."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

PROC = Path("/proc")
"""Where the kernel tells of the machine's memory, and of which groups this process is."""

CGROUP = Path("/sys/fs/cgroup")
"""Where it tells of this container's limits."""

_MEMORY = (
    ("", "max", "current", "inactive_file"),
    ("memory", "limit_in_bytes", "usage_in_bytes", "total_inactive_file"),
)
"""By version of cgroups: the controller's folder, and what limit, use, and files not in use are called."""

_UNLIMITED = 1 << 60  # version 1 of cgroups writes "no limit" as nearly 2**63


def processor_quota(proc: Path = PROC, cgroup: Path = CGROUP) -> float | None:
    """Processors that may be used at a time; None without a limit. Versions 1 and 2 of cgroups."""
    quotas = [_read(group / "cpu.max").split() for group in _groups(proc, cgroup)]
    quotas += [
        [_read(group / f"cpu.cfs_{name}_us") for name in ("quota", "period")] for group in _groups(proc, cgroup, "cpu")
    ]
    found = [(_number(words[0]), _number(words[-1])) for words in quotas if words]
    return min((quota / period for quota, period in found if quota and period and quota > 0), default=None)


def memory_limit(proc: Path = PROC, cgroup: Path = CGROUP) -> tuple[int, int] | None:
    """(bytes that are left, bytes allowed); None without a limit. Versions 1 and 2 of cgroups.

    A group's limit holds for all groups below it: of this process' own and those above, what leaves least counts, and
    what allows least. Files that were read and are no longer in use count as left: the kernel gives their memory back
    when it is needed.
    """
    found = []
    for controller, limit, used, unused in _MEMORY:
        for group in _groups(proc, cgroup, controller):
            allowed, taken = (_number(_read(group / f"memory.{name}")) for name in (limit, used))
            if allowed is not None and taken is not None and allowed < _UNLIMITED:
                held = taken - (_field(group / "memory.stat", unused) or 0)
                found.append((max(0, allowed - max(0, held)), allowed))
    return (min(left for left, _ in found), min(allowed for _, allowed in found)) if found else None


def _groups(proc: Path, cgroup: Path, controller: str = "") -> list[Path]:
    """Folders of this process' group and of all above it, of version 2 or of a controller of version 1.

    In a container the kernel may name groups as the host sees them, of which nothing is there but the topmost, this
    container's own.
    """
    top = cgroup / controller
    for line in _read(proc / "self" / "cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        names = PurePosixPath(path).parts[1:]
        if (controller in controllers.split(",") if controller else number == "0") and ".." not in names:
            own = top.joinpath(*names)
            return [own, *(above for above in own.parents if above.is_relative_to(top))]
    return [top]


def free_memory(proc: Path = PROC) -> int | None:
    """Bytes that the machine can still give; None if it does not tell."""
    kilobytes = _field(proc / "meminfo", "MemAvailable:")
    return None if kilobytes is None else kilobytes * 1024


def available_memory(proc: Path = PROC, cgroup: Path = CGROUP) -> int | None:
    """Bytes that both the machine and the container can still give; None if neither tells."""
    return memory(proc, cgroup)[0]


def memory(proc: Path = PROC, cgroup: Path = CGROUP) -> tuple[int | None, int | None]:
    """(what `available_memory` gives, bytes that the container allows); None for what nobody tells."""
    left, allowed = memory_limit(proc, cgroup) or (None, None)
    return min((value for value in (free_memory(proc), left) if value is not None), default=None), allowed


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
