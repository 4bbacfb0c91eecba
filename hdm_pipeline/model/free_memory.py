"""How much memory may still be taken, and a refusal before it is taken."""

from __future__ import annotations

import torch

from hdm_pipeline.errors import ModelInputError
from hdm_pipeline.resources import available_memory


def available_bytes(device: torch.device) -> int | None:
    """Free memory of a device: of the CPU what the machine and this container allow; None if unknown."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free) + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return available_memory()


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
