"""How much memory may still be taken, and a refusal before it is taken."""

from __future__ import annotations

from pathlib import Path

import torch

from hdm_pipeline.errors import ModelInputError

_CGROUP = Path("/sys/fs/cgroup")
_MEMINFO = Path("/proc/meminfo")


def available_bytes(device: torch.device) -> int | None:
    """Free memory of a device: of the CPU what the machine and this process's cgroup allow; None if unknown."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free) + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    limits = [limit for limit in (_meminfo(), _cgroup()) if limit is not None]
    return min(limits, default=None)


def require_memory(needed: int, device: torch.device, *, what: str) -> None:
    """Refuse work whose estimated memory exceeds what is free.

    Raises:
        ModelInputError: names both figures.
    """
    free = available_bytes(device)
    if free is not None and needed > free:
        raise ModelInputError(
            f"{what} would take about {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free",
            where=f"device {device}",
            remedy="use smaller tiles (on a GPU also a smaller execution.batch_size), or a machine with more memory",
        )


def _meminfo() -> int | None:
    if not _MEMINFO.is_file():
        return None
    for line in _MEMINFO.read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _cgroup() -> int | None:
    limit, used = _CGROUP / "memory.max", _CGROUP / "memory.current"
    if not limit.is_file() or not used.is_file():
        return None
    text = limit.read_text().strip()
    return None if text == "max" else max(0, int(text) - int(used.read_text()))
