"""Checks of readers whose scenes can be read at a reduced size (`contracts.OverviewSource`)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from hdm_pipeline.contracts import OverviewSource, SceneHeader
from hdm_pipeline.grid import Window
from hdm_pipeline.testing.findings import Findings

_SIDE = 2048
"""Rows and columns of a window that is read at its own size to compare with, at most."""

_SLACK = 0.25
"""How far a value may lie outside of those around it, as a part of their range: overviews made by splines overshoot."""

_MOST_OFF = 0.1
"""Share of values that may lie further outside: overviews that were compressed with losses, or made of other pixels."""


def check_overviews(findings: Findings, source: OverviewSource) -> None:
    """Compare what a scene gives at a reduced size with what it gives at its own.

    Args:
        findings: where to note what is wrong.
        source: an open scene, guarded: shapes and types are looked at there.
    """
    bands = tuple(range(source.header.shape[0]))
    for window in _windows(source.header):
        whole = source.read(window, bands)
        size = window.height, window.width
        pixels, valid = source.read_reduced(window, bands, size)
        same = np.array_equal(valid, whole[1]) and np.array_equal(pixels[:, valid], whole[0][:, valid])
        findings.require(same, f"read_reduced of {window} at its own size is not what read gives")
        for part in (2, 3, 16):
            _compare(findings, source, window, whole, (max(1, size[0] // part), max(1, size[1] // part)))
    _, depth, height, width = source.header.shape
    source.read_reduced(Window.whole(depth // 2, (height, width)), bands, (min(height, 64), min(width, 64)))


def _windows(header: SceneHeader) -> list[Window]:
    """The first corner of the first slice, and a part of the middle that begins and ends within blocks of the file."""
    _, depth, height, width = header.shape
    y, x = height // 5, width // 7
    rows, columns = min(_SIDE, height - y), min(_SIDE, width - x)
    return [
        Window(z=0, y=0, x=0, height=min(_SIDE, height), width=min(_SIDE, width)),
        Window(z=depth // 2, y=y, x=x, height=max(1, rows - rows // 9), width=max(1, columns - columns // 11)),
    ]


def _compare(
    findings: Findings,
    source: OverviewSource,
    window: Window,
    whole: tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]],
    size: tuple[int, int],
) -> None:
    bands = tuple(range(source.header.shape[0]))
    pixels, valid = source.read_reduced(window, bands, size)
    again, again_valid = source.read_reduced(window, bands[::-1], size)
    same = np.array_equal(valid, again_valid) and np.array_equal(pixels[:, valid], again[::-1][:, valid])
    where = f"{window} at {size[0]} x {size[1]}"
    findings.require(same, f"a second read_reduced of {where}, of bands in another order, differs")
    low, high, some, every = _around(*whole, size)
    findings.require(not (valid & ~some).any(), f"pixels are valid in {where} although none around them is")
    findings.require(not (every & ~valid).any(), f"pixels are not valid in {where} although all around them are")
    slack = _SLACK * (high - low) + 1e-5 * np.abs(high)
    off = ((pixels < low - slack) | (pixels > high + slack))[:, valid & some]
    unlike = f"pixels in {where} are not what the valid pixels around them are"
    findings.require(not off.size or off.mean() <= _MOST_OFF, unlike)


def _around(
    pixels: npt.NDArray[np.float32], valid: npt.NDArray[np.bool_], size: tuple[int, int]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Of each pixel of the smaller image and those beside it: lowest and highest valid, whether any is, and all are."""
    starts = [np.arange(count) * pixels.shape[axis] // count for axis, count in ((1, size[0]), (2, size[1]))]
    low = _cells(np.minimum, np.where(valid, pixels.astype(np.float64), np.inf), starts)
    high = _cells(np.maximum, np.where(valid, pixels.astype(np.float64), -np.inf), starts)
    some = _cells(np.maximum, valid[None], starts)[0]
    every = _cells(np.minimum, valid[None], starts, reach=3)[0]  # splines lose what lies within their reach of a hole
    return low, high, some, every


def _cells(
    function: np.ufunc, values: npt.NDArray[Any], starts: list[npt.NDArray[np.int64]], reach: int = 1
) -> npt.NDArray[Any]:
    """A minimum or maximum over each cell [bands, rows, columns] and so many cells beside it."""
    for axis, of_axis in zip((1, 2), starts, strict=True):
        values = function.reduceat(values, of_axis, axis=axis)
        place, last = np.arange(values.shape[axis]), values.shape[axis] - 1
        shifts = range(-reach, reach + 1)
        beside = [np.take(values, np.clip(place + shift, 0, last), axis=axis) for shift in shifts]
        values = function.reduce(beside)
    return values
