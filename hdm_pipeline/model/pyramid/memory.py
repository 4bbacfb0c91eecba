"""What was computed of images that come again: the same examples are encoded and segmented many times while judged.

An image is known by its values, not by its place in memory, because it is reduced and normalised anew each time.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

_T = TypeVar("_T")
_MOST_PIXELS = 2 << 20  # of all images together: what is known of them takes 340 to 420 bytes a pixel
_MOST_LABELS = 4  # of one image: its mask, the two halves of it, and one more
_MOST_SETS = 8  # of images with labels: a bank takes some hundred kilobytes


class Known:
    """What is known of one batch of images.

    Args:
        kept: whether it is asked again; if not, nothing need be found by its values.
    """

    def __init__(self, *, kept: bool) -> None:
        self._kept = kept
        self._found: dict[Hashable, Any] = {}
        self._labelled: OrderedDict[Hashable, Any] = OrderedDict()

    def __contains__(self, what: Hashable) -> bool:
        return what in self._found

    def get(self, what: Hashable, compute: Callable[[], _T]) -> _T:
        """What `compute` gives for the images; computed once.

        Args:
            what: names what is computed.
            compute: its result must depend on nothing but the images, and nobody may change it in place.
        """
        if what not in self._found:
            self._found[what] = compute()
        return cast(_T, self._found[what])

    def labelled(self, what: Hashable, labels: Tensor, compute: Callable[[], _T]) -> _T:
        """`get` of what depends on labels, too; of the labels that came last."""
        if not self._kept:
            return compute()
        return _latest(self._labelled, (what, _digest(labels)), compute, _MOST_LABELS)


class Touched:
    """The images that were asked for within a block.

    Args:
        memory: that they were asked of.
    """

    def __init__(self, memory: FeatureMemory) -> None:
        self._memory = memory
        self.keys: set[bytes] = set()

    def make_room(self) -> None:
        """Keep them only until something else needs the room, or until they are asked for again."""
        self._memory.set_spare(self.keys)


class FeatureMemory:
    """What was computed of each image, until it is full; what comes later is computed anew each time.

    Args:
        most_pixels: of all images together; 0 keeps nothing.
        latest: when it is full, what was not asked for longest makes room.
    """

    def __init__(self, most_pixels: int = _MOST_PIXELS, *, latest: bool = False) -> None:
        self.most_pixels = most_pixels
        self._latest = latest
        self._images: OrderedDict[bytes, Known] = OrderedDict()
        self._sizes: dict[bytes, int] = {}
        self._pixels = 0
        self._spare: dict[bytes, None] = {}  # in the order in which they make room
        self._watching: list[Touched] = []
        self._sets: OrderedDict[Hashable, Any] = OrderedDict()

    def of(self, images: Tensor) -> Known:
        """What is known of images [B, C, H, W]; what is added to it is kept if there is room."""
        if not self.most_pixels:
            return Known(kept=False)
        key = _digest(images)
        for watching in self._watching:
            watching.keys.add(key)
        self._spare.pop(key, None)
        known = self._images.get(key)
        if known is None:
            pixels = images.shape[0] * images.shape[-2] * images.shape[-1]
            if not self._has_room(pixels):
                return Known(kept=False)
            self._pixels += pixels
            self._sizes[key] = pixels
            known = self._images[key] = Known(kept=True)
        self._images.move_to_end(key)
        return known

    def holds(self, images: Tensor) -> bool:
        """Whether something is kept of images; that they were asked for does not count as a use."""
        return _digest(images) in self._images

    def of_set(
        self, what: Hashable, images: Sequence[Tensor], labels: Sequence[Tensor], compute: Callable[[], _T]
    ) -> _T:
        """What `compute` gives for labelled images together; of the sets that came last.

        Args:
            what: names what is computed.
            images: tensors [C, H, W].
            labels: of each image [H, W].
            compute: as in `Known.get`.
        """
        if not self.most_pixels:
            return compute()
        return _latest(self._sets, (what, *map(_digest, (*images, *labels))), compute, _MOST_SETS)

    @contextmanager
    def watching(self) -> Iterator[Touched]:
        """Within it, notes which images are asked for."""
        touched = Touched(self)
        self._watching.append(touched)
        try:
            yield touched
        finally:
            self._watching.remove(touched)

    def set_spare(self, keys: set[bytes]) -> None:
        """Let these images make room for others, those that came first before the rest."""
        self._spare |= dict.fromkeys(key for key in self._images if key in keys)

    def _has_room(self, pixels: int) -> bool:
        """Make room for so many pixels; nothing leaves where that is not enough."""
        may_leave = self._pixels if self._latest else sum(self._sizes[key] for key in self._spare)
        if self._pixels - may_leave + pixels > self.most_pixels:
            return False
        while self._pixels + pixels > self.most_pixels:
            leaves = next(iter(self._spare or self._images))
            self._spare.pop(leaves, None)
            del self._images[leaves]
            self._pixels -= self._sizes.pop(leaves)
        return True

    def __deepcopy__(self, memo: dict[int, Any]) -> FeatureMemory:
        """An empty one that keeps nothing: a copy of a network may compute otherwise."""
        return FeatureMemory(0)


def _latest(known: OrderedDict[Hashable, Any], key: Hashable, compute: Callable[[], _T], most: int) -> _T:
    """What is known under a key, computed where it is not; those that were asked for last are kept."""
    if key not in known:
        found = compute()
        if len(known) >= most:
            known.popitem(last=False)
        known[key] = found
    known.move_to_end(key)
    return cast(_T, known[key])


def _digest(images: Tensor) -> bytes:
    kind = images.device.type
    precision = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else images.dtype
    digest = hashlib.blake2b(f"{tuple(images.shape)} {precision} {kind}".encode(), digest_size=16)
    digest.update(images.detach().contiguous().cpu().view(torch.uint8).numpy().data)
    return digest.digest()
