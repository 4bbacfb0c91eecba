"""A contact sheet: for each episode the example, the query, the truth, the prediction and the errors, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from hdm_pipeline.errors import OutputError
from hdm_pipeline.evaluation.evaluate import EpisodeResult, Shown
from hdm_pipeline.pictures.color import IGNORED, Picture, as_colors, tinted

CELL = 192
_GAP = 6
_HEADER = 22
_CAPTION = 16
_COLUMNS = ("example", "query", "truth", "prediction", "errors")
_HIT = (60, 190, 90)
_FALSE_ALARM = (230, 50, 60)
_MISSED = (60, 110, 240)
_BACKGROUND = (24, 24, 28)


def write_sheet(results: Sequence[EpisodeResult], path: Path) -> None:
    """Write the episodes whose pictures were kept as one PNG.

    Raises:
        OutputError: the file cannot be written.
    """
    try:
        draw_sheet(results).save(path, format="PNG", optimize=True)
    except OSError as error:
        raise OutputError(
            f"contact sheet cannot be written: {error}", where=str(path), remedy="check the path"
        ) from error


def draw_sheet(results: Sequence[EpisodeResult]) -> Image.Image:
    """The sheet as a picture; one row for each episode whose pictures were kept."""
    rows = [(result, result.shown) for result in results if result.shown is not None]
    width = len(_COLUMNS) * (CELL + _GAP) + _GAP
    height = _HEADER + len(rows) * (CELL + _CAPTION + _GAP) + _GAP + _CAPTION
    sheet = Image.new("RGB", (width, height), _BACKGROUND)
    pen = ImageDraw.Draw(sheet)
    for column, title in enumerate(_COLUMNS):
        pen.text((_GAP + column * (CELL + _GAP), 5), title, fill=(235, 235, 235))
    for row, (result, shown) in enumerate(rows):
        top = _HEADER + row * (CELL + _CAPTION + _GAP)
        pen.text((_GAP, top), _caption(result), fill=(200, 200, 200))
        for column, picture in enumerate(_pictures(shown)):
            cell = Image.fromarray(picture)
            cell.thumbnail((CELL, CELL), Image.Resampling.BILINEAR)
            sheet.paste(cell, (_GAP + column * (CELL + _GAP), top + _CAPTION))
    legend = "errors: green hit, red false alarm, blue missed; grey-blue ignored"
    pen.text((_GAP, height - _CAPTION), legend, fill=(160, 160, 160))
    return sheet


def _caption(result: EpisodeResult) -> str:
    iou = result.counts.iou if result.counts is not None else float("nan")
    shots = len(result.episode.support)
    baseline = f", baseline {result.baseline.iou:.2f}" if result.baseline is not None else ""
    return f"{result.episode.task}  {shots} example{'s' * (shots > 1)}  IoU {iou:.2f}{baseline}"


def _pictures(shown: Shown) -> tuple[Picture, ...]:
    query, truth = as_colors(shown.query.image), shown.query.truth
    target, ignored = truth == 1, truth == 255
    errors = query // 3
    errors[shown.prediction & target] = _HIT
    errors[shown.prediction & (truth == 0)] = _FALSE_ALARM
    errors[~shown.prediction & target] = _MISSED
    errors[ignored] = IGNORED
    return (
        tinted(as_colors(shown.support_image), shown.support_mask == 1),
        query,
        tinted(query, target, ignored),
        tinted(query, shown.prediction),
        errors,
    )
