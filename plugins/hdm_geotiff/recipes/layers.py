"""A scene made of several files: which file holds which band. Discovery writes it down, the reader opens it.

A `LayeredScene` travels as text in `SceneRef.recipe`, so that a worker on another machine opens exactly what discovery
saw. It opens nothing and knows no product: `hdm_geotiff.archive.assembly` makes it of names of files, and whatever else
knows which file holds which band may make it too. A STAC item, for one, maps onto it so:

========================================  =====================================================================
item `id`, `properties.datetime`          `SceneRef.id`, `LayeredScene.datetime`
an asset's key (or `eo:bands[i].name`)    `Layer.name`
`href`, made absolute                     `Layer.uri`
`raster:bands[i]`, `bands[i]`             `Layer.band` = i + 1, `scale`, `offset`, `nodata`, `unit`
an asset that the item ought to have      `LayeredScene.problem`: the scene is quarantined with these words
role `data-mask`, classes                 `Layer.categorical`, `Layer.extra`
========================================  =====================================================================

`layered_ref` makes the `SceneRef`; its identity must change with every file that is read, see `Identities`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace

from hdm_geotiff.files.sidecars import joined
from hdm_geotiff.options import READER
from hdm_pipeline.contracts import SceneRef

STAC_ITEM = "stac_item"
"""Attribute of a scene: the STAC item that it was found by, a path or URL."""

_WORD = re.compile(r"\d[\w.]*|[^\W\d][\w.]*")
_FUNCTIONS = {"abs", "log10", "sqrt", "min", "max"}


@dataclass(frozen=True)
class Layer:
    """One band of a scene, and the file that holds it.

    Attributes:
        name: what `input.bands` calls it, e.g. ``B04``; unique within the scene.
        uri: path, URI, or path within a zip or tar (`/vsizip/`, `/vsitar/`) of the file; empty for a band that has a
            number and that this scene lacks.
        band: one-based number of the band in that file.
        scale: physical value = stored * scale + offset; None: what the product's metadata say, else the file's tags.
        offset: see `scale`.
        nodata: stored value that means no data; None: what the product's metadata say, else the file's tag.
        unit: of the physical values; empty: the file's.
        code: what the product's metadata call the band (``B04``, ``SR_B4``); empty where there are none.
        extra: read only where `input.bands` names it: clouds, angles, quality. It has no number.
        categorical: holds classes or flags: where it is resampled, values are taken and never mixed.
        placed: where the file lies if it does not say so itself: JSON of [CRS, [a, b, c, d, e, f], [height, width]].
    """

    name: str
    uri: str
    band: int = 1
    scale: float | None = None
    offset: float | None = None
    nodata: float | None = None
    unit: str = ""
    code: str = ""
    extra: bool = False
    categorical: bool = False
    placed: str = ""


@dataclass(frozen=True)
class LayeredScene:
    """The bands of a scene, in the order of their numbers.

    Attributes:
        layers: the bands.
        product: whose metadata `metadata` is: ``sentinel2``, ``landsat``, or empty.
        metadata: file that says scale, offset and nodata of the layers by `Layer.code`; empty without one.
        datetime: when it was taken, as ISO 8601; empty if unknown. Handed on to writers (`SceneHeader.attributes`).
        attributes: what else is handed on to writers; `hdm_geotiff.stac` says of an item its dates and where it lies.
        problem: why the scene cannot be used, e.g. that a band is missing; it is then quarantined. Empty if it can.
        remedy: what the user can do about the problem.
    """

    layers: tuple[Layer, ...]
    product: str = ""
    metadata: str = ""
    datetime: str = ""
    attributes: dict[str, str] = field(default_factory=dict)
    problem: str = ""
    remedy: str = ""

    def dumps(self) -> str:
        """As text, without what has its default value."""
        told = ((one.name, getattr(self, one.name)) for one in fields(self) if one.name != "layers")
        plain: dict[str, object] = {name: value for name, value in told if value}
        plain["layers"] = [_told(layer) for layer in self.layers]
        return json.dumps(plain, separators=(",", ":"))

    @classmethod
    def loads(cls, text: str) -> LayeredScene:
        """The opposite of `dumps`."""
        plain = json.loads(text)
        return cls(**{**plain, "layers": tuple(Layer(**layer) for layer in plain["layers"])})


def layered_ref(
    scene: LayeredScene, scene_id: str, uri: str, identities: Iterable[tuple[str, str]], reader: str = READER
) -> SceneRef:
    """The reference of a layered scene.

    Args:
        scene: its bands.
        scene_id: its id.
        uri: what reports call it: its folder, its archive, or one of its files.
        identities: (path below the archive, identity) of every file that is read for it, metadata included.
        reader: the name of the plug-in that opens it.
    """
    members = tuple(dict.fromkeys(layer.uri for layer in scene.layers if layer.uri))
    # How files are read is part of the identity, where they lie is not: an archive may be moved.
    laid = replace(
        scene,
        layers=tuple(replace(one, uri=os.path.basename(one.uri)) for one in scene.layers),
        attributes={name: value for name, value in scene.attributes.items() if name != STAC_ITEM},
    )
    parts = [*identities, ("", replace(laid, metadata=os.path.basename(scene.metadata)).dumps())]
    return SceneRef(scene_id, uri, reader, joined(f"{len(members)} files", parts), members, recipe=scene.dumps())


def words_of(entry: str) -> list[str]:
    """The words of an entry of `input.bands` that may name bands: of arithmetic all but functions."""
    return [word for word in _WORD.findall(entry) if word not in _FUNCTIONS]


def _told(layer: Layer) -> dict[str, object]:
    told = ((one.name, getattr(layer, one.name), one.default) for one in fields(Layer))
    return {name: value for name, value, default in told if value != default}
