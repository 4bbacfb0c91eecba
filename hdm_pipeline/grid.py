"""Pure geometry: windows, tiles, blocks and blending weights. No I/O, no torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Window:
    """A rectangle of one slice, in pixels of the scene.

    Attributes:
        z: slice index; 0 for a raster.
        y: first row.
        x: first column.
        height: rows, at least 1.
        width: columns, at least 1.
    """

    z: int
    y: int
    x: int
    height: int
    width: int

    @property
    def bottom(self) -> int:
        """First row below the window."""
        return self.y + self.height

    @property
    def right(self) -> int:
        """First column right of the window."""
        return self.x + self.width

    @property
    def pixels(self) -> int:
        """Number of pixels."""
        return self.height * self.width

    def intersect(self, other: Window) -> Window | None:
        """The common rectangle, or None where the two do not meet."""
        y, x = max(self.y, other.y), max(self.x, other.x)
        bottom, right = min(self.bottom, other.bottom), min(self.right, other.right)
        if self.z != other.z or y >= bottom or x >= right:
            return None
        return Window(self.z, y, x, bottom - y, right - x)

    def rows_columns(self, origin: Window) -> tuple[slice, slice]:
        """Slices that cut this window out of an array whose first pixel is the first pixel of `origin`."""
        y, x = self.y - origin.y, self.x - origin.x
        return slice(y, y + self.height), slice(x, x + self.width)
