"""What is drawn on one scene, in memory: cells of labels, packed, with what can be undone.

Nothing here grows with the scene, but with what is drawn on it. Cells of one label are a number, others are deflated,
which makes about a kilobyte of the 64 that a drawn cell has.
"""

from __future__ import annotations

import zlib
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import numpy.typing as npt

from hdm_pipeline.contracts import IGNORE, LabelPatch
from hdm_pipeline.grid import Window
from hdm_pipeline.session.strokes import CELL, Cover, Size, cell_shape, cells_within

Cell = tuple[int, int, int]
"""(slice, row, column) of a cell."""

Packed = int | bytes
"""Labels of a cell: one number for all, or their bytes, deflated."""

Step = dict[Cell, tuple[Packed, Packed]]
"""What one stroke changed: each cell before and after."""

Labels = npt.NDArray[np.uint8]

_MOST_STEPS = 200
_MOST_BYTES = 16 << 20
"""Of the steps of one scene that can be undone, packed."""

_CELL_BYTES = 100
"""What a cell costs beside its labels."""


class Drawing:
    """Labels of one scene: 0 background, 1.. the classes, 255 unknown, where nothing is drawn.

    Attributes:
        size: (slices, rows, columns) of the scene.
        cells: what is drawn, in the order of the last change; cells that are not there are unknown.
    """

    def __init__(self, size: Size, cells: Mapping[Cell, Packed] | None = None) -> None:
        self.size = size
        self.cells: dict[Cell, Packed] = dict(cells or {})
        self._counted: dict[Cell, tuple[bytes, dict[int, int]]] = {}
        self._undo: deque[Step] = deque()
        self._redo: deque[Step] = deque()

    @classmethod
    def of(cls, size: Size, patches: Iterable[LabelPatch]) -> Drawing:
        """What a reader has kept."""
        drawing = cls(size)
        for patch in patches:
            drawing._apply(dict(drawing._pasted(patch.window, patch.values)))
        return drawing

    # ------------------------------------------------------------------ looking

    def still(self) -> Drawing:
        """What is drawn now, and stays so: cells are shared, the history is not there."""
        return Drawing(self.size, self.cells)

    def read(self, window: Window) -> Labels:
        """[height, width] labels of a window within the scene."""
        found = np.full((window.height, window.width), IGNORE, dtype=np.uint8)
        rows, columns = cells_within(window.y, window.x, window.bottom, window.right, self.size[1:])
        for row in rows:
            for column in columns:
                if (packed := self.cells.get((window.z, row, column))) is None:
                    continue
                whole = self._window((window.z, row, column))
                shared = whole.shared_with(window)
                there, here = shared.rows_columns(whole), shared.rows_columns(window)
                found[here] = packed if isinstance(packed, int) else self._unpack((window.z, row, column))[there]
        return found

    def thinned(self, window: Window, size: tuple[int, int]) -> Labels:
        """[*size] labels of a window: of each part of it the pixel in its middle.

        Args:
            window: within the scene.
            size: (rows, columns), at most those of the window.
        """
        rows = window.y + ((2 * np.arange(size[0]) + 1) * window.height) // (2 * size[0])
        columns = window.x + ((2 * np.arange(size[1]) + 1) * window.width) // (2 * size[1])
        found = np.full(size, IGNORE, dtype=np.uint8)
        cell_rows, cell_columns = rows // CELL, columns // CELL
        for z, row, column in self._drawn_within(window):
            y, x = np.flatnonzero(cell_rows == row), np.flatnonzero(cell_columns == column)
            if not (len(y) and len(x)):
                continue
            packed = self.cells[z, row, column]
            if isinstance(packed, bytes):
                cell = self._unpack((z, row, column))
                found[np.ix_(y, x)] = cell[np.ix_(rows[y] - row * CELL, columns[x] - column * CELL)]
            else:
                found[np.ix_(y, x)] = packed
        return found

    def counts(self) -> dict[int, dict[int, int]]:
        """Pixels by slice and label; slices on which nothing is drawn are missing."""
        found: dict[int, Counter[int]] = {}
        for cell, packed in sorted(self.cells.items(), key=lambda one: one[0]):
            of_slice = found.setdefault(cell[0], Counter())
            if isinstance(packed, int):
                of_slice[packed] += self._window(cell).pixels
                continue
            known = self._counted.get(cell)
            if known is None or known[0] is not packed:
                counts = np.bincount(self._unpack(cell).ravel(), minlength=256)
                counts[IGNORE] = 0
                known = packed, {int(value): int(counts[value]) for value in np.flatnonzero(counts)}
                self._counted[cell] = known
            of_slice.update(known[1])
        return {z: dict(sorted(counts.items())) for z, counts in found.items()}

    def patches(self) -> Iterator[LabelPatch]:
        """What is drawn, in order of slice, row and column."""
        for cell in sorted(self.cells):
            window, packed = self._window(cell), self.cells[cell]
            if isinstance(packed, int):  # without taking memory for it
                yield LabelPatch(window, np.broadcast_to(np.uint8(packed), (window.height, window.width)))
            else:
                yield LabelPatch(window, self._unpack(cell))

    @property
    def can_undo(self) -> bool:
        """Whether there is something to undo."""
        return bool(self._undo)

    @property
    def can_redo(self) -> bool:
        """Whether something was undone."""
        return bool(self._redo)

    # ------------------------------------------------------------------ drawing

    def paint(self, z: int, covers: Iterable[Cover], label: int) -> Window | None:
        """Give covered pixels a label; the window that changed, or None if nothing did."""
        return self._commit(
            ((z, row, column), self._painted((z, row, column), mask, label)) for row, column, mask in covers
        )

    def paste(self, window: Window, values: Labels) -> Window | None:
        """Give each pixel of a window its label, where that is not 255; the window that changed."""
        return self._commit(self._pasted(window, values))

    def replace(self, label: int, by: int) -> Window | None:
        """Give all pixels of a label another one; the window of the first slice that changed."""
        return self._commit((cell, self._replaced(cell, label, by)) for cell in sorted(self.cells))

    def undo(self) -> Window | None:
        """Take the last stroke back; the window that changed, or None if there is none."""
        return self._step(self._undo, self._redo)

    def redo(self) -> Window | None:
        """Draw again what was taken back."""
        return self._step(self._redo, self._undo)

    def merge(self, base: Mapping[Cell, Packed], theirs: Mapping[Cell, Packed]) -> bool:
        """Take over what another program has drawn since `base`: its pixels, but where this one has drawn since.

        Args:
            base: what both began with.
            theirs: what the other one left.

        Returns:
            Whether anything is other than it was.
        """
        before = dict(self.cells)
        for cell in {*theirs, *self.cells, *base}:
            ours, was, other = (_of(cells, cell) for cells in (before, base, theirs))
            if ours == was:
                self._put(cell, other)
            elif other != was and other != ours:
                shape = self._shape(cell)
                a, b, c = (unpack(packed, shape) for packed in (ours, was, other))
                self._put(cell, pack(np.where(a != b, a, c)))
        return self.cells != before

    # ------------------------------------------------------------------ cells

    def _commit(self, changes: Iterable[tuple[Cell, Packed]]) -> Window | None:
        step: Step = {}
        for cell, after in changes:
            if (before := _of(self.cells, cell)) != after:
                step[cell] = before, after
                self._put(cell, after)
        if not step:
            return None
        self._undo.append(step)
        self._redo.clear()
        self._forget()
        return self._bounds(step)

    def _step(self, source: deque[Step], target: deque[Step]) -> Window | None:
        """Swap before and after of the last step; where others have drawn since, their pixels stay."""
        if not source:
            return None
        done: Step = {}
        step = source.pop()
        for cell, (before, after) in step.items():
            now = _of(self.cells, cell)
            then = before
            if now != after:
                shape = self._shape(cell)
                a, b, c = (unpack(packed, shape) for packed in (before, after, now))
                then = pack(np.where(a != b, a, c))
            done[cell] = now, then
            self._put(cell, then)
        target.append(done)
        return self._bounds(step)

    def _forget(self) -> None:
        """Let go of the oldest steps where there are too many; the last one always stays."""
        total = sum(map(_weight, self._undo))
        while len(self._undo) > 1 and (len(self._undo) > _MOST_STEPS or total > _MOST_BYTES):
            total -= _weight(self._undo.popleft())

    def _painted(self, cell: Cell, mask: npt.NDArray[np.bool_] | None, label: int) -> Packed:
        if mask is None:
            return label
        values = self._unpack(cell)
        values[mask] = label
        return pack(values)

    def _replaced(self, cell: Cell, label: int, by: int) -> Packed:
        values = self._unpack(cell)
        values[values == label] = by
        return pack(values)

    def _pasted(self, window: Window, values: Labels) -> Iterator[tuple[Cell, Packed]]:
        rows, columns = cells_within(window.y, window.x, window.bottom, window.right, self.size[1:])
        for row in rows:
            for column in columns:
                cell = window.z, row, column
                whole = self._window(cell)
                shared = whole.shared_with(window)
                known, new = self._unpack(cell), values[shared.rows_columns(window)]
                np.copyto(known[shared.rows_columns(whole)], new, where=new != IGNORE)
                yield cell, pack(known)

    def _apply(self, cells: Mapping[Cell, Packed]) -> None:
        for cell, packed in cells.items():
            self._put(cell, packed)

    def _put(self, cell: Cell, packed: Packed) -> None:
        self.cells.pop(cell, None)
        if packed != IGNORE:
            self.cells[cell] = packed

    def _unpack(self, cell: Cell) -> Labels:
        """Labels of a cell, to be written to."""
        return unpack(_of(self.cells, cell), self._shape(cell))

    def _shape(self, cell: Cell) -> tuple[int, int]:
        return cell_shape(cell[1], cell[2], self.size[1:])

    def _window(self, cell: Cell) -> Window:
        height, width = self._shape(cell)
        return Window(z=cell[0], y=cell[1] * CELL, x=cell[2] * CELL, height=height, width=width)

    def _drawn_within(self, window: Window) -> Iterator[Cell]:
        """The drawn cells that a window touches: the window may have many more than there are."""
        rows, columns = cells_within(window.y, window.x, window.bottom, window.right, self.size[1:])
        return (c for c in list(self.cells) if c[0] == window.z and c[1] in rows and c[2] in columns)

    def _bounds(self, step: Step) -> Window:
        """Around the pixels of the first slice that a step changed."""
        z = min(cell[0] for cell in step)
        boxes = []
        for cell, (before, after) in step.items():
            shape, whole = self._shape(cell), self._window(cell)
            if cell[0] == z and isinstance(before, int) and isinstance(after, int):
                boxes.append((whole.y, whole.x, whole.bottom - 1, whole.right - 1))
            elif cell[0] == z:
                y, x = np.nonzero(unpack(before, shape) != unpack(after, shape))
                if len(y):
                    boxes.append((whole.y + y.min(), whole.x + x.min(), whole.y + y.max(), whole.x + x.max()))
        top, left = (int(min(box[axis] for box in boxes)) for axis in (0, 1))
        bottom, right = (int(max(box[axis] for box in boxes)) for axis in (2, 3))
        return Window(z=z, y=top, x=left, height=bottom - top + 1, width=right - left + 1)


def pack(values: Labels) -> Packed:
    """Labels of a cell as `Drawing` keeps them; equal labels are packed alike."""
    first = int(values.flat[0])
    return first if (values == first).all() else zlib.compress(np.ascontiguousarray(values).data, 1)


def unpack(packed: Packed, shape: tuple[int, int]) -> Labels:
    """What was packed, to be written to."""
    if isinstance(packed, int):
        return np.full(shape, packed, dtype=np.uint8)
    return np.frombuffer(bytearray(zlib.decompress(packed)), dtype=np.uint8).reshape(shape)


def _of(cells: Mapping[Cell, Packed], cell: Cell) -> Packed:
    return cells.get(cell, IGNORE)


def _weight(step: Step) -> int:
    return sum(_CELL_BYTES + sum(len(p) for p in pair if isinstance(p, bytes)) for pair in step.values())
