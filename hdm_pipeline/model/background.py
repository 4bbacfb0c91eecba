"""Whether the examples of a class say what is not the class. Loads no network library: `validate` asks, too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hdm_pipeline.errors import SupportError


def require_background(labels: Sequence[Any], where: str) -> None:
    """Refuse the examples of a class if they show the target and nothing else: everything would be called target.

    Args:
        labels: arrays or tensors [H, W] of 1, 0 and 255.
        where: names the class in the error.

    Raises:
        SupportError: no pixel of any example is labelled 0.
    """
    target, background = (any(bool((one == value).any()) for one in labels) for value in (1, 0))
    if target and not background:
        raise SupportError(
            "no example of the class labels any background: nothing would say what is not the class",
            where=where,
            remedy="label at least some pixels of the background as 0; unknown pixels (255) do not count",
        )
