"""An image of an episode and its mask, read together: the two must be of one size and lie at one place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hdm_pipeline.contracts import Labels, RasterGeometry, SupportRequest
from hdm_pipeline.errors import SceneError, SupportError, TrainingError
from hdm_pipeline.evaluation.images import EpisodeImage, EpisodeMask, geotiff_reader, read_image, read_mask


def read_pair(image: Path, mask: Path, bands: Sequence[int] | None) -> tuple[EpisodeImage, EpisodeMask]:
    """Read an image and its mask.

    Two GeoTIFFs that have coordinates, but not the same, are paired as those of a run: the mask is warped onto the
    image, and its labels are then ignored where the image holds no data. Else the mask is taken to lie on the image.

    Args:
        image: the image's file.
        mask: the mask's file.
        bands: one-based channels of the image to use; None as `read_image` has it.

    Raises:
        TrainingError: a file cannot be used, their sizes differ, or the mask lies elsewhere than the image.
    """
    read, labels = read_image(image, bands), read_mask(mask)
    if _placed(read.place) and _placed(labels.place):
        if read.place != labels.place or read.valid.shape != labels.labels.shape:
            return read, EpisodeMask(_on_image(image, mask, labels, read.valid.shape), labels.place, labels.warnings)
    elif read.valid.shape != labels.labels.shape:
        raise _unequal(image, mask, read.valid.shape, labels.labels.shape)
    return read, labels


def told(mask: EpisodeMask, path: Path) -> tuple[str, ...]:
    """What is strange about a mask, as lines for people."""
    return tuple(f"{path}: {warning.what}; {warning.remedy}" for warning in mask.warnings)


def _placed(place: RasterGeometry | None) -> bool:
    return place is not None and place.crs_wkt is not None


def _on_image(image: Path, mask: Path, labels: EpisodeMask, shape: tuple[int, ...]) -> Labels:
    """The labels [y, x] as the reader of a run lays them onto the image."""
    # The values were checked, so that with background named the rest is what the mask says to ignore.
    request = SupportRequest(str(image), str(mask), background=(0,))
    try:
        examples = geotiff_reader().read_support(request)
    except (SceneError, SupportError) as error:
        where = error.where or f"{image} with {mask}"
        raise TrainingError(f"mask cannot be used: {error.what}", where=where, remedy=error.remedy) from error
    if len(examples) == 1 and examples[0].label.shape == shape:
        return examples[0].label
    # A large image, of which a run takes parts; it does so only where the mask lies on the image's own pixels.
    return labels.labels


def _unequal(image: Path, mask: Path, size: tuple[int, ...], other: tuple[int, ...]) -> TrainingError:
    return TrainingError(
        f"image is {size[1]} x {size[0]} pixels, its mask {other[1]} x {other[0]}",
        where=f"{image}, {mask}",
        remedy="give a mask of the image's size",
    )
