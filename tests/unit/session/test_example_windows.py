"""Which windows of a drawing are examples."""

from __future__ import annotations

import numpy as np

from hdm_pipeline.grid import Window
from hdm_pipeline.session.drawing import Drawing
from hdm_pipeline.session.examples import windows_of


def test_slices_with_background_only_are_examples_too_and_leave_room_for_those_with_the_class() -> None:
    drawing = Drawing((99, 40, 50))
    for z, value in ((4, 1), (1, 0), (2, 2)):
        drawing.paste(Window(z=z, y=5, x=5, height=10, width=10), np.full((10, 10), value, np.uint8))
    assert [window.z for window, _ in windows_of(drawing, 1)] == [1, 2, 4]
    for z in range(20, 80):
        drawing.paste(Window(z=z, y=5, x=5, height=10, width=10), np.full((10, 10), 0, np.uint8))
    assert 4 in [window.z for window, _ in windows_of(drawing, 1)]
