"""Labels of one scene in memory: drawn, taken back, merged with those of others."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from hdm_pipeline.grid import Window
from hdm_pipeline.session import drawing as module
from hdm_pipeline.session.drawing import Drawing
from hdm_pipeline.session.strokes import Place, Stroke, covered

SIZE = (3, 300, 700)
WHOLE = Window.whole(1, (300, 700))


def brush(on: Drawing, value: int, *points: Place, radius: float = 20.0) -> Window | None:
    stroke = Stroke(z=1, tool="brush", value=value, points=points, radius=radius)
    return on.paint(1, covered(stroke, on.size), stroke.label)


def test_what_is_drawn_is_read_by_windows_and_thinned_out() -> None:
    drawing = Drawing(SIZE)
    assert brush(drawing, 2, (250.0, 250.0), (270.0, 265.0)) == Window(z=1, y=230, x=230, height=55, width=60)
    whole = drawing.read(WHOLE)
    assert set(np.unique(whole)) == {2, 255}
    assert (whole == 2).sum() == drawing.counts()[1][2]
    part = Window(z=1, y=240, x=200, height=60, width=100)
    assert (drawing.read(part) == whole[240:300, 200:300]).all()
    assert (drawing.thinned(WHOLE, (30, 70)) == whole[5::10, 5::10]).all()
    assert (drawing.read(Window.whole(0, (300, 700))) == 255).all()


def test_strokes_are_taken_back_and_drawn_again() -> None:
    drawing = Drawing(SIZE)
    states = [drawing.read(WHOLE)]
    for value, x in ((1, 100.0), (0, 130.0), (2, 600.0)):
        brush(drawing, value, (x, 150.0))
        states.append(drawing.read(WHOLE))
    for state in reversed(states[:-1]):
        assert drawing.undo() is not None
        assert (drawing.read(WHOLE) == state).all()
    assert drawing.undo() is None
    assert not drawing.cells
    for state in states[1:]:
        assert drawing.redo() is not None
        assert (drawing.read(WHOLE) == state).all()
    drawing.undo()
    brush(drawing, 1, (300.0, 100.0))
    assert not drawing.can_redo
    assert brush(drawing, 1, (300.0, 100.0)) is None  # nothing changes, and there is nothing to take back


def test_an_array_is_drawn_where_it_says_something() -> None:
    drawing = Drawing(SIZE)
    brush(drawing, 2, (100.0, 100.0))
    before = drawing.read(WHOLE)
    values = np.full((280, 400), 255, np.uint8)
    values[60:90, 50:390] = 1
    window = Window(z=1, y=10, x=20, height=280, width=400)
    assert drawing.paste(window, values) == Window(z=1, y=70, x=70, height=30, width=340)
    before[70:100, 70:410] = 1
    assert (drawing.read(WHOLE) == before).all()
    assert drawing.replace(1, 255) is not None
    assert drawing.counts()[1].keys() == {2}


def test_a_scene_that_is_painted_over_takes_no_memory() -> None:
    size = (1, 18_000, 36_000)
    drawing = Drawing(size)
    stroke = Stroke(z=0, tool="polygon", value=1, points=((0.0, 0.0), (36e3, 0.0), (36e3, 18e3), (0.0, 18e3)))
    assert drawing.paint(0, covered(stroke, size), 1) == Window.whole(0, size[1:])
    assert all(isinstance(packed, int) for packed in drawing.cells.values())
    assert drawing.counts() == {0: {1: 36_000 * 18_000}}
    assert (drawing.thinned(Window.whole(0, size[1:]), (18, 36)) == 1).all()
    patches = list(drawing.patches())
    assert sum(patch.values.base is not None for patch in patches) == len(patches)


def test_history_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_STEPS", 3)
    drawing = Drawing(SIZE)
    for number in range(6):
        brush(drawing, 1, (50.0 + 100 * number, 50.0))
    while drawing.undo() is not None:
        pass
    assert len(np.unique(np.nonzero(drawing.read(WHOLE) == 1)[1] // 100)) == 3
    monkeypatch.setattr(module, "_MOST_BYTES", 0)
    brush(drawing, 2, (50.0, 250.0))
    brush(drawing, 2, (350.0, 250.0))
    assert drawing.undo() is not None
    assert drawing.undo() is None


def test_patches_bring_back_what_was_drawn() -> None:
    drawing = Drawing(SIZE)
    brush(drawing, 3, (256.0, 256.0), (650.0, 10.0))
    again = Drawing.of(SIZE, drawing.patches())
    assert again.cells == drawing.cells
    assert not again.can_undo


def theirs_and_ours() -> tuple[Drawing, dict[module.Cell, module.Packed], Drawing]:
    ours = Drawing(SIZE)
    brush(ours, 1, (100.0, 100.0))
    base = dict(ours.cells)
    theirs = Drawing(SIZE, base)
    brush(theirs, 2, (100.0, 120.0))
    brush(theirs, 2, (600.0, 120.0))
    return ours, base, theirs


def test_what_others_drew_is_merged_pixel_by_pixel() -> None:
    ours, base, theirs = theirs_and_ours()
    brush(ours, 0, (120.0, 120.0))
    mine, yours = ours.read(WHOLE), theirs.read(WHOLE)
    changed_here = mine != Drawing(SIZE, base).read(WHOLE)
    assert ours.merge(base, theirs.cells)
    wanted: npt.NDArray[np.uint8] = np.where(changed_here, mine, yours)
    assert (ours.read(WHOLE) == wanted).all()
    assert 2 in wanted
    assert 0 in wanted


def test_to_take_a_stroke_back_leaves_what_others_drew() -> None:
    ours, base, theirs = theirs_and_ours()
    ours.merge(base, theirs.cells)
    assert ours.undo() is not None  # the first stroke, with 1
    found = ours.read(WHOLE)
    assert 1 not in found
    assert (found[:, 570:] == theirs.read(WHOLE)[:, 570:]).all()
