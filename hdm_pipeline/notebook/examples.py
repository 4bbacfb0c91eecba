"""The labelled examples of one `segment` call, by class, whatever they are given as."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from hdm_pipeline.config.example import VECTOR_SUFFIXES
from hdm_pipeline.config.problems import first_problem
from hdm_pipeline.config.schema import ClassConfig
from hdm_pipeline.contracts import IGNORE, LabeledImage, Reader, SupportRequest
from hdm_pipeline.errors import ModelInputError, SceneError, SupportError
from hdm_pipeline.notebook.pictures import described, is_path, picture_of
from hdm_pipeline.support.examples import requests
from hdm_pipeline.xarrays.installed import is_data_array

TARGET = "target"
"""What the one class is called that nobody named."""

MOST_CLASSES = 254

Values = tuple[int, ...]


def examples_of(support: Any, classes: Any, reader: Reader) -> dict[str, list[LabeledImage]]:
    """The examples of every class, in the order of the mask's values.

    Args:
        support: pairs of an image and its mask; or such pairs by class.
        classes: where masks hold several classes: their names, for the values 1, 2, ...; or values by name.
        reader: reads those that are paths.

    Raises:
        SupportError: an example cannot be used, or a class has none.
    """
    if isinstance(support, Mapping):
        if classes is not None:
            remedy = "give either examples by class, or label images with `classes`"
            raise SupportError("`support` names the classes, and so does `classes`", where="segment", remedy=remedy)
        _check_names(list(support))
        return {
            name: [example for place, pair in _pairs(pairs, name) for example in _read(pair, place, None, reader)]
            for name, pairs in support.items()
        }
    if classes is None:
        return {TARGET: [example for place, pair in _pairs(support) for example in _read(pair, place, None, reader)]}
    values = _values(classes)
    found: dict[str, list[LabeledImage]] = {name: [] for name in values}
    for place, pair in _pairs(support):
        for name, examples in _by_class(pair, place, values, reader).items():
            found[name] += examples
    for name, examples in found.items():
        if not examples:
            what = f"no example shows the class {name!r} (value {', '.join(map(str, values[name]))})"
            raise SupportError(what, where="segment", remedy="check `classes`, or add an example that shows it")
    return found


def _by_class(pair: Any, place: str, values: Mapping[str, Values], reader: Reader) -> dict[str, list[LabeledImage]]:
    """An example of several classes as one of each that it shows.

    Raises:
        SupportError: it cannot be used for any of them.
    """
    found: dict[str, list[LabeledImage]] = {}
    first: SupportError | None = None
    for name, chosen in values.items():
        try:
            found[name] = _read(pair, place, chosen, reader)
        except SupportError as error:  # it may just not show this class: then another one can be read of it
            first = first or error
    if not found and first is not None:
        raise first
    return found


def _pairs(support: Any, name: str | None = None) -> Iterator[tuple[str, Any]]:
    """Each example with how messages call it."""
    of = "" if name is None else f" of {name!r}"
    if isinstance(support, str | os.PathLike | np.ndarray) or not isinstance(support, Sequence):
        remedy = "give a list of pairs (image, mask), or a dict of such lists by class"
        raise SupportError(f"the support{of} is {described(support)}", where="segment", remedy=remedy)
    if not support:
        raise SupportError(f"there is no example{of}", where="segment", remedy="give at least one (image, mask)")
    for number, pair in enumerate(support, 1):
        place = f"example {number}{of}"
        if not isinstance(pair, Mapping) and (not isinstance(pair, tuple | list) or len(pair) != 2):
            raise SupportError(f"{place} is no pair", where="segment", remedy="give (image, mask) for each example")
        yield place, pair


def _check_names(names: Sequence[Any]) -> None:
    remedy = "give each class a name of its own, 1 to 64 characters"
    if not 1 <= len(names) <= MOST_CLASSES:
        raise SupportError(f"there are {len(names)} classes", where="segment", remedy=f"give 1 to {MOST_CLASSES}")
    for name in names:
        if not isinstance(name, str) or not 1 <= len(name) <= 64:
            raise SupportError(f"a class is called {name!r}", where="segment", remedy=remedy)
    if len(set(names)) != len(names):
        raise SupportError("two classes have one name", where="segment", remedy=remedy)


def _values(classes: Any) -> dict[str, Values]:
    """The label values of each class."""
    remedy = "give names for the values 1, 2, ...: classes=['water', 'forest']; or values: classes={'water': 3}"
    if isinstance(classes, Mapping):
        names, given = list(classes), list(classes.values())
    elif isinstance(classes, Sequence) and not isinstance(classes, str):
        names, given = list(classes), list(range(1, len(classes) + 1))
    else:
        raise SupportError(f"`classes` is {described(classes)}", where="segment", remedy=remedy)
    _check_names(names)
    found = {}
    for name, one in zip(names, given, strict=True):
        chosen = list(one) if isinstance(one, Sequence) and not isinstance(one, str) else [one]
        if not chosen or any(isinstance(v, bool) or not isinstance(v, int | np.integer) for v in chosen):
            raise SupportError(f"the label value of {name!r} is {one!r}", where="segment", remedy=remedy)
        found[name] = tuple(int(value) for value in chosen)
    taken = [value for chosen in found.values() for value in chosen]
    if len(set(taken)) != len(taken):
        raise SupportError("one label value means two classes", where="segment", remedy=remedy)
    return found


def _read(pair: Any, place: str, values: Values | None, reader: Reader) -> list[LabeledImage]:
    """One example; of a label image the class of these values, else the class that the value 1 means.

    Raises:
        SupportError: it cannot be used.
    """
    if isinstance(pair, Mapping):
        return _configured(pair, place, values, reader)
    image, mask = pair
    drawn = is_path(mask) and os.fspath(mask).lower().endswith(VECTOR_SUFFIXES)
    if drawn and is_path(image):  # as under `mask` of a pipeline file: what is not drawn is background
        return _configured({"image": image, "mask": mask}, place, values, reader)
    with _support_errors(place):
        if is_path(image) and is_path(mask):
            return reader.read_support(SupportRequest(os.fspath(image), os.fspath(mask), values or (1,)))
        if is_path(mask):
            remedy = "give both as paths"
            if not drawn:
                remedy += ", or open the mask as the image was: rioxarray.open_rasterio(path)"
            raise SupportError(f"the mask of {place} is a path, its image is none", where="segment", remedy=remedy)
        with picture_of(image, f"the image of {place}", reader) as picture:
            pixels, valid = picture.read(0, picture.shape[1], range(picture.shape[0]))
            label = _label(mask, picture, place, values)
            label[~valid] = IGNORE
            name = os.path.basename(os.fspath(image)) if is_path(image) else place
            return [LabeledImage(name, pixels, valid, label, picture.bands, picture.pixel_size)]


def _configured(given: Mapping[str, Any], place: str, values: Values | None, reader: Reader) -> list[LabeledImage]:
    """An example that is written as under `examples` of a pipeline file: with drawn labels, values, slices.

    Raises:
        SupportError: it cannot be used.
    """
    if values is not None:
        remedy = "give examples by class: {'lake': [{'image': ..., 'labels': ...}]}"
        raise SupportError(f"{place} says itself what it shows, and so does `classes`", where="segment", remedy=remedy)
    for key in ("image", "mask", "labels"):
        if key in given and not is_path(given[key]):
            what = f"`{key}` of {place} is {described(given[key])}, not a path"
            remedy = "in a dict name files, as in a pipeline file; arrays are given as pairs: (image, mask)"
            raise SupportError(what, where="segment", remedy=remedy)
    plain = {key: os.fspath(value) if isinstance(value, os.PathLike) else value for key, value in given.items()}
    try:
        example = ClassConfig.model_validate({"name": place[:64], "examples": [plain]})
    except ValueError as error:
        remedy = "write it as under `examples` of a pipeline file: image, and mask or labels"
        raise SupportError(f"{place}: {first_problem(error)}", where="segment", remedy=remedy) from error
    with _support_errors(place):
        return [image for request in requests(example) for image in reader.read_support(request)]


@contextmanager
def _support_errors(place: str) -> Iterator[None]:
    """What is wrong with an example is a `SupportError` that names it."""
    try:
        yield
    except (ModelInputError, SceneError) as error:
        raise SupportError(error.what, where=f"{place}: {error.where}", remedy=error.remedy) from error
    except SupportError as error:
        if place not in str(error):
            raise SupportError(error.what, where=f"{place}: {error.where}", remedy=error.remedy) from error
        raise


def _label(mask: Any, picture: Any, place: str, values: Values | None) -> npt.NDArray[np.uint8]:
    """A mask as labels [y, x]: 1 the class, 0 background, 255 ignored.

    Raises:
        SupportError: it is no mask of this image, holds other values, or does not show the class that is asked for.
        ModelInputError: a `DataArray` does not lie on the image.
    """
    size = picture.shape[1:]
    what = f"the mask of {place}"
    if is_data_array(mask):
        from hdm_pipeline.xarrays.image import DataArrayImage, placed

        held = (picture if isinstance(picture, DataArrayImage) else placed(size, None, None)).labels(mask, what)
        hidden = np.zeros(size, dtype=np.bool_)
    else:
        if not isinstance(mask, np.ndarray) or mask.dtype.kind not in "biu" or mask.shape != size:
            told = f"{what} is {described(mask)}, not integers {size}"
            raise SupportError(told, where="segment", remedy="give a mask [y, x] of the image's size: 1, 0 and 255")
        held, hidden = np.ma.getdata(mask), np.ma.getmaskarray(mask)
    if values is None:
        strange = np.setdiff1d(held, (0, 1, IGNORE))
        if strange.size:
            told = f"{what} holds {', '.join(map(str, strange[:5].tolist()))}"
            remedy = "use 1 for the class, 0 for background, 255 for ignored; or name what it holds with `classes`"
            raise SupportError(told, where="segment", remedy=remedy)
        label = held.astype(np.uint8)
    else:
        chosen = np.isin(held, values)
        label = np.where(chosen, 1, np.where(held == IGNORE, IGNORE, 0)).astype(np.uint8)
    label[hidden] = IGNORE
    if values is not None and not (label == 1).any():
        told = f"{what} has no pixel of the value {', '.join(map(str, values))}"
        raise SupportError(told, where="segment", remedy="check `classes`, or choose an example that shows the class")
    return label
