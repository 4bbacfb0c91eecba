"""Labelled examples: what is asked of a reader, and what it gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from hdm_pipeline.contracts.scene import Band, SceneWarning


@dataclass(frozen=True)
class Selection:
    """Some of the features of a vector file.

    Attributes:
        layer: name of the layer; None where the file has one layer.
        where: filter by attributes, as the WHERE of SQL (``class = 'flood'``); None for all features of the layer.
    """

    layer: str | None = None
    where: str | None = None


@dataclass(frozen=True)
class ImageWindow:
    """The part of an image that is an example; one of the two.

    Attributes:
        pixels: (column, row, width, height), counted from the upper left corner.
        bounds: (left, bottom, right, top) in `crs`.
        crs: of the bounds; None for the image's.
    """

    pixels: tuple[int, int, int, int] | None = None
    bounds: tuple[float, float, float, float] | None = None
    crs: str | None = None


@dataclass(frozen=True)
class VectorLabels:
    """How the features of a vector file become labels.

    A pixel belongs to a polygon if its centre does, to a line if the line runs through it, to a point if the point lies
    in it. Where target and background overlap, the smaller feature lies on top. What is not drawn is unknown.

    Attributes:
        target: features that are the class.
        background: features that are background; None for none.
        ignore: features within which everything is unknown, whatever else is drawn there; None for none.
        extent: polygons within which everything is drawn: the rest of them is background; None for none.
        complete: everything is drawn: the rest of the image, or of its window, is background.
        width: width of lines and diameter of points, above 0.
        width_unit: ``m`` on the ground, or ``px``.
        crs: of the file's coordinates, where the file names none, or a wrong one; None to take the file's.
        window: part of the image; None for all of it, or where it is large, for the parts in which something is drawn.
        optional: the image is one of many: if nothing is drawn in it, it is no example, and that is no error.
    """

    target: Selection = Selection()
    background: Selection | None = None
    ignore: Selection | None = None
    extent: Selection | None = None
    complete: bool = False
    width: float | None = None
    width_unit: Literal["m", "px"] = "px"
    crs: str | None = None
    window: ImageWindow | None = None
    optional: bool = False

    def selections(self) -> dict[str, Selection]:
        """What is selected, by its part: ``target``, ``background``, ``ignore`` and ``extent``."""
        parts = {"target": self.target, "background": self.background, "ignore": self.ignore, "extent": self.extent}
        return {part: selection for part, selection in parts.items() if selection is not None}


@dataclass(frozen=True)
class SupportRequest:
    """One labelled example as the pipeline file names it.

    Attributes:
        image: path or URI of the image (for a volume: its folder or any of its files).
        mask: path or URI of the labels.
        values: label values (or segment numbers) that mean the class.
        ignore: label values that are neither class nor background.
        slices: z indices to use of a volume; empty for all slices that hold the class.
        segment: name of a segment or structure, where the label format has names; else None.
        background: label values that are background; everything that neither these nor `values` name is then unknown.
            Empty: everything else is background, but for 255 in labels of eight bits, which means unknown.
        vector: `mask` is a vector file, and this says what its features mean; only for a `VectorLabelReader`. `values`,
            `ignore`, `slices`, `segment` and `background` then say nothing.
        shared: other examples name the same file of labels: what lies outside of this image may lie in theirs.
    """

    image: str
    mask: str
    values: tuple[int, ...] = (1,)
    ignore: tuple[int, ...] = ()
    slices: tuple[int, ...] = ()
    segment: str | None = None
    background: tuple[int, ...] = ()
    vector: VectorLabels | None = None
    shared: bool = False


@dataclass(frozen=True, eq=False)
class LabeledImage:
    """One labelled 2-D example, in the units of the scene.

    Attributes:
        name: for messages; carries no patient data.
        pixels: [bands, y, x] float32, scale and offset applied.
        valid: [y, x] bool, False where the pixels hold no data.
        label: [y, x] uint8: 1 the class, 0 background, 255 ignored (invalid pixels too).
        bands: one entry per band.
        pixel_size: side of a pixel in metres, the root of its area; None where it is unknown.
        warnings: what is strange about the labels; told in `run.json` and at the start of a run.
        statistics: if the example is a part of an image, valid pixels of all of it: what `SceneSource.sample` gives of
            all bands and `STATISTICS_PIXELS`. Where percentiles are asked for they scale the part, as they scale the
            scene. None if the example's own pixels do.
    """

    name: str
    pixels: npt.NDArray[np.float32]
    valid: npt.NDArray[np.bool_]
    label: npt.NDArray[np.uint8]
    bands: tuple[Band, ...]
    pixel_size: float | None = None
    warnings: tuple[SceneWarning, ...] = ()
    statistics: npt.NDArray[np.float32] | None = None
