"""What `segment` does before and after the network: bands and scale as in a run, and whether all that makes sense."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hdm_pipeline.config.problems import first_problem
from hdm_pipeline.config.schema import Input, Scale
from hdm_pipeline.contracts import IGNORE, LabeledImage, Pixels, RasterGeometry, SceneHeader, SceneRef, Validity
from hdm_pipeline.errors import BandError, ConfigError, SupportError, counted
from hdm_pipeline.model.whole_image import Mask, ReadRows
from hdm_pipeline.notebook.pictures import FilePicture, Picture
from hdm_pipeline.notebook.told import Range, Told, suspicions
from hdm_pipeline.pixels.bands import BandPlan, parse, resolve
from hdm_pipeline.pixels.sanity import SAMPLE_PIXELS, Look, look_at, result_warnings, scale_warnings, unlike_warnings
from hdm_pipeline.pixels.scaling import SAMPLE_PIXELS as RANGE_PIXELS
from hdm_pipeline.pixels.scaling import scale_pixels, scene_ranges
from hdm_pipeline.support.examples import scaled


class Chosen:
    """The bands and the scale, as `input` of a pipeline file has them."""

    def __init__(self, bands: tuple[int | str, ...] | None, scale: Scale | None) -> None:
        self.bands = bands
        self.scale = scale

    @classmethod
    def of(cls, bands: Any, scale: Any) -> Chosen:
        """Check them.

        Raises:
            ConfigError: they are not what a pipeline file may say.
        """
        given = {} if bands is None else {"bands": [bands] if isinstance(bands, int | str) else list(bands)}
        for band in given.get("bands", []):
            parse(band)
        try:
            whole = scale if isinstance(scale, Scale) else _scale((0, 1) if scale is None else scale)
            if given:
                Input(uri="one", scale=whole, **given)
        except (ValueError, TypeError) as error:
            remedy = "give scale=(low, high), one such pair a band, or {'percentiles': (1, 99)}; bands=[1, 'VV', ...]"
            raise ConfigError(f"bands or scale: {first_problem(error)}", where="segment", remedy=remedy) from error
        return cls(tuple(given["bands"]) if given else None, None if scale is None else whole)

    def of_image(self, image: Picture | LabeledImage) -> tuple[int | str, ...]:
        """The bands that are used of an image."""
        if self.bands is not None:
            return self.bands
        return tuple(number for number, band in enumerate(image.bands, 1) if band.role != "alpha")


def _scale(given: Any) -> Scale:
    """`scale` as a pipeline file has it."""
    asked = given if isinstance(given, Mapping) else {"fixed": given}
    return Scale(**{key: _plain(value) for key, value in asked.items()})


def _plain(value: Any) -> Any:
    """Pairs as pydantic tells them from lists of pairs."""
    if isinstance(value, str) or not isinstance(value, Sequence | np.ndarray):
        return value
    items = [_plain(one) for one in value]
    pair = len(items) == 2 and not any(isinstance(one, tuple | list) for one in items)
    return tuple(float(one) for one in items) if pair else items


def _check_ranges(scale: Scale | None, bands: int) -> None:
    """Refuse ranges that are neither one nor one a band: how many bands there are, only the image tells.

    Raises:
        ConfigError: says how many there are.
    """
    fixed = None if scale is None else scale.fixed
    if isinstance(fixed, list) and len(fixed) not in (1, bands):
        what = f"scale has {counted(len(fixed), 'range')} for {counted(bands, 'band')}"
        raise ConfigError(what, where="segment", remedy="give one range, one a band, or fewer bands: bands=[1, 2]")


class Task:
    """An image and its examples, scaled alike and compared.

    Raises:
        ConfigError: there are neither one range nor one a band.

    Attributes:
        examples: images [bands, y, x] in 0..1, NaN where invalid, and labels [y, x], by class.
        told: what to warn of before the network sees anything.
    """

    def __init__(self, picture: Picture, chosen: Chosen, read: Mapping[str, Sequence[LabeledImage]]) -> None:
        self.told: Told = []
        self.examples: dict[str, list[tuple[Pixels, Mask]]] = {}
        self._picture, self._scale = picture, chosen.scale
        self.name = picture.name if isinstance(picture, FilePicture) else "the array"
        self._seen = Range(self.name) if chosen.scale is None else None
        self.plan: BandPlan = resolve(chosen.of_image(picture), picture.bands)
        _check_ranges(chosen.scale, len(self.plan.bands))
        looks: list[Look] = []  # of all classes: one example may serve several
        for name, images in read.items():
            self.examples[name] = [self._example(image, chosen, looks) for image in images]
        self._ranges = self._look(looks)
        self.told = list(dict.fromkeys(self.told))

    def _example(self, image: LabeledImage, chosen: Chosen, looks: list[Look]) -> tuple[Pixels, Mask]:
        """An example, scaled; its look is compared with those of the others, and added to them."""
        used = chosen.of_image(image)
        pixels, valid, look = scaled(used, chosen.scale, image)
        if len(pixels) != len(self.plan.bands):
            what = f"{image.name} has {counted(len(pixels), 'band')}, {self.name} {len(self.plan.bands)}"
            raise SupportError(what, where="segment", remedy="give the same bands, in the same order")
        if chosen.scale is None:
            seen = Range(image.name)
            seen.see(np.where(valid, pixels, np.float32(0)))
            self.told += seen.told()
        else:
            self.told += suspicions(image.name, scale_warnings(look, chosen.scale))
        try:
            self.told += suspicions(image.name, unlike_warnings(look, looks))
        except BandError as error:
            raise SupportError(error.what, where=image.name, remedy=error.remedy) from error
        self.told += suspicions(image.name, image.warnings)
        looks.append(look)
        return pixels, np.where(valid, image.label, IGNORE).astype(np.uint8)

    def _look(self, examples: Sequence[Look]) -> tuple[tuple[float, float], ...]:
        """Compare the image with the examples; the range of each band that becomes 0..1."""
        picture = self._picture
        measured = self._scale is not None and self._scale.percentiles is not None
        sample = picture.sample(RANGE_PIXELS if measured else SAMPLE_PIXELS, self.plan.indices)
        ranges = ((0.0, 1.0),) * len(self.plan.bands)
        if self._scale is not None:
            ranges = scene_ranges(self._scale, self.plan, sample, self.name)
        look = look_at(self.name, self.plan, picture.bands, sample, ranges, picture.pixel_size)
        found = [] if self._scale is None else scale_warnings(look, self._scale, examples)
        found += unlike_warnings(look, examples)
        if isinstance(picture, FilePicture):
            found += picture.warnings
        self.told += suspicions(self.name, found)
        return ranges

    def rows(self, hidden: npt.NDArray[np.bool_] | None) -> ReadRows:
        """What reads rows of the image as the network takes them."""

        def read(top: int, bottom: int) -> tuple[Pixels, Validity]:
            pixels, valid = self.plan.apply(*self._picture.read(top, bottom, self.plan.indices))
            if hidden is not None:
                valid = valid & hidden[top:bottom]
            if self._scale is not None:
                return scale_pixels(np.where(valid, pixels, np.float32(0)), self._ranges), valid
            if self._seen is not None:
                self._seen.see(pixels)
            return pixels, valid

        return read

    def told_after(self, mask: Mask, names: Sequence[str]) -> Told:
        """What only the whole image and its mask could tell."""
        told = [] if self._seen is None else self._seen.told()
        counts = np.zeros(256, dtype=np.int64)
        for row in mask:  # not at once: it makes eight bytes of each pixel
            counts += np.bincount(row, minlength=256)
        pixels = {name: int(counts[value]) for value, name in enumerate(names, 1)}
        height, width = mask.shape
        nowhere, ref = RasterGeometry((1, 0, 0, 0, 1, 0)), SceneRef(self.name, self.name, "", "")
        header = SceneHeader(ref, (1, 1, height, width), "uint8", (), nowhere)
        measures = {"valid": 1 - counts[255] / mask.size, "pixels": pixels}
        return told + suspicions(self.name, result_warnings(header, measures))
