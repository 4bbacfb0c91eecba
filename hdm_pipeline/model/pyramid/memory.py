"""Features of images that come again: the same examples are encoded and segmented many times while they are judged.

An image is known by its values, not by its place in memory, because it is reduced and normalised anew each time.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

_T = TypeVar("_T")
_MOST_PIXELS = 2 << 20  # of all images together: their features take about 250 bytes a pixel


class FeatureMemory:
    """What was computed of each image, until it is full; what comes later is computed anew each time.

    Args:
        most_pixels: of all images together; 0 keeps nothing.
        latest: when it is full, what was not asked for longest makes room.
    """

    def __init__(self, most_pixels: int = _MOST_PIXELS, *, latest: bool = False) -> None:
        self.most_pixels = most_pixels
        self._latest = latest
        self._images: OrderedDict[bytes, dict[tuple[str, int], Any]] = OrderedDict()
        self._sizes: dict[bytes, int] = {}
        self._pixels = 0

    def get(self, what: tuple[str, int], images: Tensor, compute: Callable[[], _T]) -> _T:
        """What `compute` gives for images, from memory where it is known.

        Args:
            what: name and number of what is computed.
            images: [B, C, H, W].
            compute: its result must depend on nothing else, and nobody may change it in place.
        """
        if not self.most_pixels:
            return compute()
        key = _digest(images)
        known = self._images.get(key)
        if known is None:
            pixels = images.shape[0] * images.shape[-2] * images.shape[-1]
            while self._latest and self._images and self._pixels + pixels > self.most_pixels:
                oldest, _ = self._images.popitem(last=False)
                self._pixels -= self._sizes.pop(oldest)
            if self._pixels + pixels > self.most_pixels:
                return compute()
            self._pixels += pixels
            self._sizes[key] = pixels
            known = self._images[key] = {}
        self._images.move_to_end(key)
        if what not in known:
            known[what] = compute()
        return cast(_T, known[what])

    def known(self, what: tuple[str, int], images: Tensor) -> Any | None:
        """What was computed of images before, or None; arguments as in `get`."""
        return self._images.get(_digest(images), {}).get(what) if self._images else None

    def __deepcopy__(self, memo: dict[int, Any]) -> FeatureMemory:
        """An empty one that keeps nothing: a copy of a network may compute otherwise."""
        return FeatureMemory(0)


def _digest(images: Tensor) -> bytes:
    kind = images.device.type
    precision = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else images.dtype
    digest = hashlib.blake2b(f"{tuple(images.shape)} {precision} {kind}".encode(), digest_size=16)
    digest.update(images.detach().contiguous().cpu().view(torch.uint8).numpy().data)
    return digest.digest()
