"""What guarded readers look at in everything that a reader gives; each raises `PluginError`."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hdm_pipeline.contracts import (
    BACKGROUND,
    IGNORE,
    Band,
    LabeledImage,
    LabelPatch,
    RasterGeometry,
    SavedLabels,
    SceneHeader,
    SceneLabels,
    SceneRef,
    SceneWarning,
    VolumeGeometry,
)
from hdm_pipeline.grid import Window
from hdm_pipeline.plugin.guard import Guard, check_array, finite


def check_header(guard: Guard, header: Any, ref: SceneRef) -> None:
    """Raise `PluginError` unless a header is one, and of this scene."""
    require, where = guard.require, ref.shown
    require(isinstance(header, SceneHeader), f"the header is a {type(header).__name__}", where)
    require(header.ref == ref, "the header is of another scene", where)
    shape = header.shape
    require(len(shape) == 4 and all(type(n) is int and n > 0 for n in shape), f"the shape is {shape}", where)
    require(len(header.bands) == shape[0], f"{len(header.bands)} bands are described, not {shape[0]}", where)
    require(all(isinstance(band, Band) for band in header.bands), "bands are not described by Band", where)
    geometry = header.geometry
    require(isinstance(geometry, RasterGeometry | VolumeGeometry), "the geometry is neither kind", where)
    numbers = geometry.transform if isinstance(geometry, RasterGeometry) else geometry.affine
    count = 6 if isinstance(geometry, RasterGeometry) else 16
    require(len(numbers) == count and bool(np.isfinite(numbers).all()), "the geometry is no affine map", where)
    told = all(isinstance(warning, str | SceneWarning) for warning in header.warnings)
    require(told, "a warning is neither a text nor a SceneWarning", where)
    require(len(header.chunk) == 2 and min(header.chunk) > 0, f"the chunk is {header.chunk}", where)
    try:
        json.dumps(dict(header.attributes), allow_nan=False)
    except (TypeError, ValueError):
        require(False, "the attributes are no JSON", where)


def check_pixels(
    guard: Guard, method: str, result: Any, shape: tuple[int, int, int], where: str
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """The pixels and validity that a source gives.

    Raises:
        PluginError: they are not of the shape [bands, rows, columns], or of other types, or not finite where valid.
    """
    pair = isinstance(result, tuple) and len(result) == 2
    guard.require(pair, f"{method} gives no pair of pixels and validity", where)
    pixels, valid = result
    check_array(guard, "pixels", pixels, np.float32, shape, where)
    check_array(guard, "validity", valid, np.bool_, shape[1:], where)
    guard.require(finite(pixels, valid), "pixels that it calls valid are not finite", where)
    return pixels, valid


def check_labeled(guard: Guard, image: Any, where: str) -> None:
    """Raise `PluginError` unless this is a usable `LabeledImage`."""
    guard.require(isinstance(image, LabeledImage), f"a support example is a {type(image).__name__}", where)
    guard.require(getattr(image.label, "ndim", 0) == 2, "the label of a support example is no image", where)
    shape = image.label.shape
    check_array(guard, "the pixels of a support example", image.pixels, np.float32, (len(image.bands), *shape), where)
    check_array(guard, "the validity of a support example", image.valid, np.bool_, shape, where)
    check_array(guard, "the label of a support example", image.label, np.uint8, shape, where)
    guard.require(finite(image.pixels, image.valid), "valid pixels of a support example are not finite", where)
    if image.statistics is not None:
        drawn = image.statistics.shape[1:] if isinstance(image.statistics, np.ndarray) else ()
        check_array(guard, "the statistics", image.statistics, np.float32, (len(image.bands), *drawn), where)
        guard.require(bool(np.isfinite(image.statistics).all()), "the statistics are not finite", where)
    counts = np.bincount(image.label.ravel(), minlength=256)
    guard.require(not counts[2:255].any(), "a support label holds values other than 0, 1 and 255", where)
    guard.require(bool((image.label[~image.valid] == 255).all()), "a support label is not 255 where invalid", where)


def check_saved(guard: Guard, saved: Any, labels: SceneLabels, folder: Path) -> None:
    """Raise `PluginError` unless this is a `SavedLabels` whose files lie in the folder."""
    where, require = labels.scene.shown, guard.require
    require(isinstance(saved, SavedLabels), f"save_labels gives a {type(saved).__name__}", where)
    inside = os.path.abspath(folder)
    for file in saved.files:
        require(isinstance(file, str) and os.path.dirname(file) == inside, "labels lie outside of their folder", where)
        named = os.path.basename(file).startswith(labels.scene.id)
        require(named, "a file of labels is not called as its scene", where)
        require(os.path.isfile(file), "a file of labels was not written", where)
    unknown = set(saved.examples) - set(labels.classes.values())
    require(not unknown, f"an example is of {next(iter(unknown), '')!r}, which is no class", where)
    wrong = [one for one in saved.examples.values() if not isinstance(one, Mapping) or "image" not in one]
    require(not wrong, "an example is no mapping with an `image`", where)


def check_labels(guard: Guard, labels: Any, ref: SceneRef, classes: Mapping[int, str]) -> None:
    """Raise `PluginError` unless these are the labels of a scene, with no other values than asked for."""
    where, require = ref.shown, guard.require
    require(isinstance(labels, SceneLabels), f"load_labels gives a {type(labels).__name__}", where)
    require(labels.scene == ref, "labels are of another scene", where)
    known = np.zeros(256, dtype=bool)
    known[[BACKGROUND, IGNORE, *classes]] = True
    for patch in labels.patches:
        fits = isinstance(patch, LabelPatch) and isinstance(patch.window, Window)
        require(fits, f"labels hold a {type(patch).__name__}", where)
        shape = (patch.window.height, patch.window.width)
        check_array(guard, "labels", patch.values, np.uint8, shape, where)
        require(bool(known[patch.values].all()), "labels hold values that are no class", where)
