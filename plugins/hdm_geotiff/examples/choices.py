"""What a file of labels holds: attributes of drawn features with their values, or the values of a mask."""

from __future__ import annotations

from collections import Counter
from math import ceil
from typing import Any

import numpy as np

from hdm_geotiff.examples.vector_file import VectorFile
from hdm_geotiff.files.environment import open_dataset, reading
from hdm_geotiff.options import ReaderOptions
from hdm_geotiff.scenes.exact_nodata import nodata_of
from hdm_pipeline.contracts import LabelChoice
from hdm_pipeline.errors import SupportError

_VECTORS = (".gpkg", ".geojson", ".json", ".fgb", ".shp", ".parquet", ".geoparquet")
_MOST_VALUES = 32
"""Values of an attribute or of a mask from which on it names no classes, but numbers or measures."""

_SIDE = 2048
"""Pixels a side of a mask that are looked at, thinned out."""


def label_choices(path: str, options: ReaderOptions) -> list[LabelChoice]:
    """See `hdm_pipeline.contracts.DraftingReader`."""
    if path.lower().endswith(_VECTORS):
        return _features(VectorFile(path))
    return _values(path, options)


def _features(file: VectorFile) -> list[LabelChoice]:
    """Every value of every attribute that has few, and every layer as a whole."""
    found: list[LabelChoice] = []
    several = len(file.layers) > 1
    for layer in file.layers:
        keys = {"layer": layer} if several else {}
        count, columns = file.columns(layer)
        found.append(LabelChoice(f"all of {layer}", count, f"layer {layer}", keys))
        for name, values in columns.items():
            counts = Counter(value for value in values if value is not None and value == value)
            if not 1 <= len(counts) <= _MOST_VALUES or (len(counts) == len(values) and len(values) > 2):
                continue  # as many values as features are names of features
            quoted = name if name.isidentifier() else '"' + name.replace('"', '""') + '"'
            for value, number in counts.most_common():
                where = f"{quoted} = {_literal(value)}"
                found.append(LabelChoice(str(value), number, f"{name} of {layer}", {**keys, "where": where}))
    return found


def _literal(value: Any) -> str:
    """A value as SQL writes it."""
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else str(value)


def _values(path: str, options: ReaderOptions) -> list[LabelChoice]:
    """The values of a mask, by the pixels of its first band."""
    network = options.allow_network
    with reading(path, "open the mask", allow_network=network), open_dataset(path) as file:
        if not np.issubdtype(np.dtype(file.dtypes[0]), np.integer):
            raise SupportError("a mask of labels holds whole numbers", where=path, remedy="give a mask, not an image")
        step = max(1, ceil(max(file.height, file.width) / _SIDE))
        thin = file.read(1, out_shape=(ceil(file.height / step), ceil(file.width / step)))  # nearest: no new values
        nodata = nodata_of(file)[0]
    values, counts = np.unique(thin, return_counts=True)
    if len(values) > _MOST_VALUES:
        remedy = "give a mask with one value for each class"
        raise SupportError(f"the mask holds {len(values)} values: it is no mask of labels", where=path, remedy=remedy)
    pairs = [(int(v), int(n)) for v, n in zip(values, counts, strict=True) if nodata is None or v != nodata]
    return [LabelChoice(str(value), number, "values", {"value": value}) for value, number in pairs]
