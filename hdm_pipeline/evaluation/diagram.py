"""Reliability diagrams as one PNG: for all pixels and for each task, how often a probability was right."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw

from hdm_pipeline.errors import OutputError
from hdm_pipeline.evaluation.calibration import TaskCalibration, overall
from hdm_pipeline.support.reliability import Reliability

SIDE = 200
"""Pixels of a panel, which spans probabilities and shares of 0 to 1."""

_GAP = 36
_ACROSS = 4
_BACKGROUND, _FRAME, _TEXT = (24, 24, 28), (90, 90, 96), (225, 225, 225)
PLAIN, CALIBRATED = (255, 150, 60), (90, 210, 120)
_DOT = 3


def write_diagram(tasks: dict[str, TaskCalibration], path: Path) -> None:
    """Write the diagrams.

    Raises:
        OutputError: the file cannot be written.
    """
    try:
        draw_diagram(tasks).save(path, format="PNG", optimize=True)
    except OSError as error:
        raise OutputError(f"diagram cannot be written: {error}", where=str(path), remedy="check the path") from error


def draw_diagram(tasks: dict[str, TaskCalibration]) -> Image.Image:
    """The diagrams as a picture: all tasks first, four in a row."""
    panels = [("all pixels", overall(tasks)), *tasks.items()]
    across = min(_ACROSS, len(panels))
    down = -(-len(panels) // across)
    picture = Image.new("RGB", (across * (SIDE + _GAP) + _GAP, down * (SIDE + 2 * _GAP) + _GAP), _BACKGROUND)
    pen = ImageDraw.Draw(picture)
    for number, (name, found) in enumerate(panels):
        left, top = _GAP + number % across * (SIDE + _GAP), _GAP + number // across * (SIDE + 2 * _GAP)
        pen.rectangle((left, top, left + SIDE, top + SIDE), outline=_FRAME)
        pen.line((left, top + SIDE, left + SIDE, top), fill=_FRAME)
        pen.text((left, top - 14), name[:32], fill=_TEXT)
        errors = f"error {found.plain.expected_error:.3f}, calibrated {found.calibrated.expected_error:.3f}"
        pen.text((left, top + SIDE + 4), errors, fill=_TEXT)
        for reliability, color in ((found.plain, PLAIN), (found.calibrated, CALIBRATED)):
            _curve(pen, reliability, (left, top), color)
    legend = "across: probability; up: share of target; orange as scored, green calibrated"
    pen.text((_GAP, picture.height - 20), legend, fill=_TEXT)
    return picture


def _curve(pen: ImageDraw.ImageDraw, found: Reliability, corner: tuple[int, int], color: tuple[int, int, int]) -> None:
    """A line through the bins, with a dot at each."""
    left, top = corner
    places = [(left + SIDE * probability, top + SIDE * (1 - share)) for probability, share, _ in found.bins]
    if len(places) > 1:
        pen.line(places, fill=color, width=1)
    for x, y in places:
        pen.ellipse((x - _DOT, y - _DOT, x + _DOT, y + _DOT), fill=color)
