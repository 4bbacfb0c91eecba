"""Which pixels a stroke covers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageDraw

from hdm_pipeline.errors import ConfigError
from hdm_pipeline.session.strokes import CELL, Place, Stroke, Tool, cell_shape, check_stroke, covered

SIZE = (1, 300, 600)


def drawn(tool: Tool, *points: Place, radius: float = 0.0, size: tuple[int, int, int] = SIZE) -> npt.NDArray[np.bool_]:
    found = np.zeros(size[1:], dtype=np.bool_)
    for row, column, mask in covered(Stroke(z=0, tool=tool, value=1, points=points, radius=radius), size):
        height, width = cell_shape(row, column, size[1:])
        part = found[row * CELL : row * CELL + height, column * CELL : column * CELL + width]
        part |= True if mask is None else mask
    return found


def middles() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    y, x = np.mgrid[0 : SIZE[1], 0 : SIZE[2]] + 0.5
    return x, y


def test_a_brush_covers_the_pixels_whose_middles_are_within_its_radius_of_the_line() -> None:
    x, y = middles()
    along = np.clip((x - 100.25) / 300.0, 0, 1)  # from (100.25, 120.5) to (400.25, 120.5)
    wanted = np.hypot(x - (100.25 + 300 * along), y - 120.5) <= 30.7
    assert (drawn("brush", (100.25, 120.5), (400.25, 120.5), radius=30.7) == wanted).all()


def test_a_brush_of_any_size_covers_the_pixels_that_its_line_runs_through() -> None:
    found = drawn("brush", (10.0, 10.0), (290.0, 150.0))
    for share in np.linspace(0, 1, 997):
        assert found[int(10 + 140 * share), int(10 + 280 * share)]
    assert drawn("point", (5.5, 7.5))[7, 5]
    assert drawn("point", (5.5, 7.5)).sum() == 1


def test_a_large_brush_covers_whole_cells_without_spelling_them_out() -> None:
    stroke = Stroke(z=0, tool="brush", value=1, points=((1e4, 9e3), (2e4, 9e3)), radius=5000)
    covers = list(covered(stroke, (1, 18_000, 36_000)))
    whole = sum(mask is None for _, _, mask in covers)
    assert whole > 2000
    assert len(covers) - whole < 300
    assert drawn("brush", (-900.0, 50.0), (900.0, 50.0), radius=1000).all()


def test_a_polygon_covers_its_inside() -> None:
    x, y = middles()
    triangle = drawn("polygon", (0.0, 0.0), (600.0, 0.0), (0.0, 300.0))
    assert (triangle == (x / 600 + y / 300 < 1)).mean() > 0.9999
    image = Image.new("1", (SIZE[2], SIZE[1]))
    points = [(20.0, 30.0), (580.0, 90.0), (400.0, 280.0), (260.0, 120.0), (90.0, 290.0)]
    ImageDraw.Draw(image).polygon(points, fill=1)
    # Pillow draws the outline, too.
    assert (drawn("polygon", *points) == np.asarray(image)).mean() > 0.99
    twice = [(50.0, 50.0), (250.0, 50.0), (250.0, 250.0), (50.0, 250.0)]
    assert not drawn("polygon", *twice, *twice).any()  # even-odd


def test_what_lies_outside_of_the_scene_is_left_out() -> None:
    assert not list(covered(Stroke(0, "brush", 1, ((-50.0, -50.0), (-80.0, 9e8)), 20.0), SIZE))
    assert not list(covered(Stroke(0, "polygon", 1, ((700.0, 0.0), (800.0, 0.0), (700.0, 90.0))), SIZE))
    assert drawn("polygon", (-1e9, -1e9), (1e9, -1e9), (1e9, 1e9), (-1e9, 1e9)).all()


def test_many_points_are_as_good_as_few() -> None:
    x = np.linspace(20.0, 500.0, 20_001)
    many = drawn("brush", *((float(one), 100.0) for one in x), radius=12)
    assert (many == drawn("brush", (20.0, 100.0), (500.0, 100.0), radius=12)).all()


@pytest.mark.parametrize(
    "stroke",
    [
        Stroke(z=1, tool="brush", value=1, points=((1.0, 1.0),)),
        Stroke(z=0, tool="brush", value=4, points=((1.0, 1.0),)),
        Stroke(z=0, tool="brush", value=-1, points=((1.0, 1.0),)),
        Stroke(z=0, tool="brush", value=1, points=()),
        Stroke(z=0, tool="brush", value=1, points=((float("nan"), 1.0),)),
        Stroke(z=0, tool="brush", value=1, points=((1.0, 1.0),), radius=-2.0),
        Stroke(z=0, tool="spray", value=1, points=((1.0, 1.0),)),  # type: ignore[arg-type]
    ],
)
def test_what_means_nothing_is_refused(stroke: Stroke) -> None:
    with pytest.raises(ConfigError) as refused:
        check_stroke(stroke, SIZE, classes=3)
    assert refused.value.remedy
