"""The small picture of a scene with its mask: made when the scene is published, from overviews where it has some."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hdm_pipeline.contracts import SceneSource
from hdm_pipeline.errors import HdmError
from hdm_pipeline.execution.messages import RunContext, SceneWork
from hdm_pipeline.execution.reduced import SIDE, Bytes, ReducedMask
from hdm_pipeline.grid import Window
from hdm_pipeline.output.files import output_errors
from hdm_pipeline.output.layout import Workspace
from hdm_pipeline.output.manifest import keep_pictures
from hdm_pipeline.pictures.color import Picture, as_colors
from hdm_pipeline.pictures.overlay import outlined, shrunk, webp
from hdm_pipeline.pixels.overview import reduced
from hdm_pipeline.pixels.scaling import scale_pixels

SIZES = {"large": (288, 9000), "small": (112, 1400)}
"""Pictures for the report by name: (most pixels a side, most bytes). The small ones are for archives of thousands."""

_GRAY = 96

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Quicklook:
    """A scene seen small.

    Attributes:
        image: [y, x, 3] uint8, as the network saw it; of a volume a slice.
        mask: [y, x] uint8: 0 background, 1..C classes, 255 nodata.
        colors: of the classes by value.
    """

    image: Picture
    mask: Bytes
    colors: Mapping[int, tuple[int, int, int]]

    def drawn(self, side: int = SIDE) -> Picture:
        """[y, x, 3] uint8 of at most `side` pixels a side: the image with the mask drawn over it."""
        image = shrunk(self.image, side)
        rows, columns = (np.arange(n) * m // n for n, m in zip(image.shape[:2], self.mask.shape, strict=True))
        return outlined(image, self.mask[np.ix_(rows, columns)], self.colors)


def shown(context: RunContext, work: SceneWork) -> bool:
    """Whether there is a report, and pixels of this scene may be seen there."""
    report = context.config.report
    return report.html and report.shows_pixels(private=work.ref.private)


def wanted(context: RunContext, work: SceneWork, *, product: bool) -> bool:
    """Whether a quicklook of a scene is to be made: for a product, or for the report."""
    return product or shown(context, work)


def make(source: SceneSource, context: RunContext, work: SceneWork, small: ReducedMask) -> Quicklook:
    """The quicklook of a scene whose mask was collected. Where its image can no longer be read, the mask on gray."""
    z, mask = small.result()
    try:
        image = _image(source, work, z, mask)
    except HdmError as error:
        log.warning("no picture of a scene: %s", error.what, extra={"scene": work.ref.id})
        image = np.full((*mask.shape, 3), _GRAY, dtype=np.uint8)
    return Quicklook(image, mask, {one.value: one.color for one in context.classes})


def _image(source: SceneSource, work: SceneWork, z: int, mask: Bytes) -> Picture:
    _, _, height, width = work.header.shape
    whole = Window(z=z, y=0, x=0, height=height, width=width)
    pixels, valid = reduced(source, whole, work.bands.indices, mask.shape)
    pixels, valid = work.bands.apply(pixels, valid)
    scaled = scale_pixels(np.where(valid, pixels, np.float32("nan")), work.ranges)
    return as_colors(scaled)


def keep(workspace: Workspace, scene: str, quicklook: Quicklook) -> None:
    """Keep a quicklook for the report, each picture put in place by renaming."""
    keep_pictures(workspace, scene, pictures(quicklook))


def pictures(quicklook: Quicklook) -> dict[str, bytes]:
    """A quicklook as WebP, by name of `SIZES`."""
    return {name: webp(quicklook.drawn(side), most) for name, (side, most) in SIZES.items()}


def drop(workspace: Workspace, scene: str) -> None:
    """Remove a scene's quicklook, if there is one: it is of another file, or may not be shown."""
    for name in SIZES:
        target = workspace.quicklook(scene, name)
        with output_errors(target):
            target.unlink(missing_ok=True)
