"""An image of an episode and its mask, read together: the two must be of one size and lie at one place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from hdm_pipeline.contracts import IGNORE, Labels, RasterGeometry, SceneWarning, SupportRequest
from hdm_pipeline.errors import SceneError, SupportError, TrainingError
from hdm_pipeline.evaluation.images import EpisodeImage, EpisodeMask, geotiff_reader, read_image, read_mask

Tell = Callable[[str], object]
"""Takes what is strange about masks, a line each, as it is found: also of files that then cannot be used."""


def read_pair(
    image: Path, mask: Path, bands: Sequence[int] | None, ignore: Sequence[int] = (), *, tell: Tell
) -> tuple[EpisodeImage, Labels]:
    """Read an image, and its labels [y, x]: 1, 0 and 255, which counts nowhere; so do pixels without data.

    Two GeoTIFFs that have coordinates, but not the same, are paired as those of a run: the mask is warped onto the
    image. Else the mask is taken to lie on the image.

    Args:
        image: the image's file.
        mask: the mask's file.
        bands: one-based channels of the image to use; None as `read_image` has it.
        ignore: values of the mask that count nowhere.
        tell: takes what is strange about the mask.

    Raises:
        TrainingError: a file cannot be used, their sizes differ, the mask lies elsewhere than the image, or no pixel
            counts.
    """
    read, stored = read_image(image, bands), read_mask(mask, ignore)
    labels = stored.labels
    _tell(stored.warnings, mask, tell)
    if _placed(read.place) and _placed(stored.place):
        if read.place != stored.place or read.valid.shape != labels.shape:
            labels = _on_image(image, mask, stored, ignore, read.valid.shape, tell)
    elif read.valid.shape != labels.shape:
        raise _unequal(image, mask, read.valid.shape, labels.shape)
    if (labels == IGNORE).all():
        remedy = "choose another mask: this one says nothing about any pixel"
        raise TrainingError("every pixel of the mask is unknown", where=str(mask), remedy=remedy)
    labels[~read.valid] = IGNORE
    if (labels == IGNORE).all():
        what, where = "all labels lie only where the image holds no data", f"{image} with {mask}"
        raise TrainingError(what, where=where, remedy="choose another image, or correct its nodata")
    return read, labels


def _tell(warnings: Sequence[SceneWarning], path: Path, tell: Tell) -> None:
    for warning in warnings:
        tell(f"{path}: {warning.what}; {warning.remedy}")


def _placed(place: RasterGeometry | None) -> bool:
    return place is not None and place.crs_wkt is not None


def _on_image(
    image: Path, mask: Path, stored: EpisodeMask, ignore: Sequence[int], shape: tuple[int, ...], tell: Tell
) -> Labels:
    """The labels [y, x] as the reader of a run lays them onto the image."""
    # The values were checked, so that with background named the rest is what the mask says to ignore.
    request = SupportRequest(str(image), str(mask), ignore=tuple(ignore), background=(0,))
    try:
        examples = geotiff_reader().read_support(request)
    except (SceneError, SupportError) as error:
        where = error.where or f"{image} with {mask}"
        raise TrainingError(f"mask cannot be used: {error.what}", where=where, remedy=error.remedy) from error
    # That a mask shows background only is told by its own warnings, where it is strange.
    _tell([one for one in examples[0].warnings if one.kind != "only_background"], mask, tell)
    if len(examples) == 1 and examples[0].label.shape == shape:
        return examples[0].label
    # A large image, of which a run takes parts; it does so only where the mask lies on the image's own pixels.
    return stored.labels


def _unequal(image: Path, mask: Path, size: tuple[int, ...], other: tuple[int, ...]) -> TrainingError:
    return TrainingError(
        f"image is {size[1]} x {size[0]} pixels, its mask {other[1]} x {other[0]}",
        where=f"{image}, {mask}",
        remedy="give a mask of the image's size",
    )
