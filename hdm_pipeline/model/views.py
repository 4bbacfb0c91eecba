"""Flipped and turned views of a tile, whose answers are averaged: test-time augmentation.

Views are computed one after the other and added up in one order: a tile's answer does not depend on its company.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Augment = Literal["none", "flips", "rotations"]

_VIEWS: dict[Augment, tuple[tuple[bool, int], ...]] = {
    "none": ((False, 0),),
    "flips": ((False, 0), (True, 0), (False, 2), (True, 2)),
    "rotations": tuple((flipped, turns) for flipped in (False, True) for turns in range(4)),
}
"""Of each kind the views: whether the columns are reversed, and by how many quarters it is then turned."""


def views(x: Tensor, augment: Augment) -> list[Tensor]:
    """All views of images [B, C, H, W], the images as they are first; sides are exchanged in some of `rotations`."""
    return [torch.rot90(x.flip(-1) if flipped else x, turns, (-2, -1)) for flipped, turns in _VIEWS[augment]]


def averaged(answers: list[Tensor], augment: Augment) -> Tensor:
    """The mean of the answers [B, n, h, w] to all views, each brought back to how the image lies."""
    total = answers[0]  # the image as it is
    for answer, (flipped, turns) in list(zip(answers, _VIEWS[augment], strict=True))[1:]:
        back = torch.rot90(answer, -turns, (-2, -1))
        total = total + (back.flip(-1) if flipped else back)
    return total if len(answers) == 1 else total / len(answers)
