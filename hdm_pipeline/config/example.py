"""The part of the pipeline file that names one labelled example: an image with a mask, or with drawn labels."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from hdm_pipeline.config.base import Model, Place
from hdm_pipeline.config.problems import from_pydantic

VECTOR_SUFFIXES = (".gpkg", ".geojson", ".json", ".fgb", ".shp", ".parquet", ".geoparquet")
"""How files with drawn labels end; `mask` takes them, too."""

_WIDTH = re.compile(r"(\d+(?:\.\d*)?|\.\d+) ?(m|metres?|meters?|px|pixels?)")


class Features(Model):
    """Some of the features of a vector file."""

    layer: str | None = Field(None, description="name of the layer; not needed where the file has one")
    where: str | None = Field(None, description="filter by attributes: class = 'flood'")


class WindowConfig(Model):
    """Part of an image: one of the two."""

    pixels: tuple[int, int, int, int] | None = Field(
        None, description="[column, row, width, height], as of gdal_translate -srcwin"
    )
    bounds: tuple[float, float, float, float] | None = Field(
        None, description="[left, bottom, right, top] in the image's coordinates, or in `crs`"
    )
    crs: str | None = Field(None, description="of the bounds, e.g. EPSG:4326")

    @model_validator(mode="after")
    def _one_kind(self) -> WindowConfig:
        if (self.pixels is None) == (self.bounds is None):
            raise ValueError("give either `pixels` or `bounds`")
        if self.pixels is not None and (min(self.pixels[:2]) < 0 or min(self.pixels[2:]) < 1 or self.crs is not None):
            raise ValueError("`pixels` are [column, row, width, height], not negative, and have no `crs`")
        if self.bounds is not None and not (self.bounds[0] < self.bounds[2] and self.bounds[1] < self.bounds[3]):
            raise ValueError("`bounds` are [left, bottom, right, top]: left below right, and bottom below top")
        return self


class Example(Model):
    """One labelled example, or several by globs that match as many images as masks (paired in sorted order).

    Its labels are a `mask` or, drawn in a GIS, `labels`. One file of labels may serve many images.
    """

    image: Place = Field(description="path or glob of the image; for a volume its folder")
    mask: Place | None = Field(None, description="path or glob of the labels as an image, a volume, or a DICOM object")
    labels: Place | None = Field(
        None, description="path or glob of drawn labels: GeoPackage, GeoJSON, FlatGeobuf, Shapefile or GeoParquet"
    )
    value: list[int] = Field(default_factory=lambda: [1], description="label values that mean the class")
    ignore: list[int] | Features = Field(
        default_factory=list, description="label values, or a filter of features, that are neither class nor background"
    )
    background: list[int] | Features = Field(
        default_factory=list,
        description="label values, or a filter of features, that are background; all others are then unknown",
    )
    slices: list[int] = Field(default_factory=list, description="slice indices to use of a labelled volume")
    segment: str | None = Field(None, description="name of a segment or structure in the labels")
    layer: str | None = Field(None, description="layer of the drawn labels; not needed where the file has one")
    where: str | None = Field(None, description="which features are the class: class = 'flood'; all without it")
    complete: bool | None = Field(
        None, description="true: what is not drawn is background. false (default of `labels`): it is unknown"
    )
    extent: Features | None = Field(
        None, description="polygons within which everything is drawn: the rest of them is background"
    )
    width: str | None = Field(None, description="width of lines and diameter of points: 20 m, or 3 px")
    crs: str | None = Field(None, description="of drawn labels whose file names none, or a wrong one: EPSG:32633")
    window: WindowConfig | None = Field(None, description="part of the image; by default where something is drawn")

    @property
    def vector(self) -> bool:
        """Whether the labels are drawn features, not pixels."""
        return self.labels is not None or (self.mask or "").lower().endswith(VECTOR_SUFFIXES)

    @property
    def everything_is_drawn(self) -> bool:
        """Whether what no feature covers is background. A mask says something of each pixel, also a drawn one."""
        return self.labels is None if self.complete is None else self.complete

    @field_validator("value", "slices", mode="before")
    @classmethod
    def _list_of_values(cls, value: object) -> object:
        return [value] if isinstance(value, int) else value

    @field_validator("ignore", "background", "extent", mode="before")
    @classmethod
    def _values_or_filter(cls, value: object) -> object:
        return {"where": value} if isinstance(value, str) else [value] if isinstance(value, int) else value

    @field_validator("width")
    @classmethod
    def _with_unit(cls, value: str | None) -> str | None:
        if value is not None and (not (match := _WIDTH.fullmatch(value.strip())) or float(match[1]) <= 0):
            raise ValueError("a width has a unit: 20 m (metres on the ground), or 3 px (pixels of the image)")
        return value

    def width_and_unit(self) -> tuple[float | None, Literal["m", "px"]]:
        """The width as a number, and its unit."""
        match = _WIDTH.fullmatch(self.width.strip()) if self.width is not None else None
        return (float(match[1]), "m" if match[2].startswith("m") else "px") if match else (None, "px")

    @model_validator(mode="after")
    def _one_kind_of_labels(self) -> Example:
        if (self.mask is None) == (self.labels is None):
            raise ValueError("give either `mask` (labels as pixels) or `labels` (polygons, lines and points)")
        of_the_other = ("value", "slices", "segment") if self.vector else _OF_VECTORS
        strange = [name for name in of_the_other if name in self.model_fields_set]
        strange += [
            n
            for n in ("ignore", "background")
            if isinstance(getattr(self, n), list if self.vector else Features) and n in self.model_fields_set
        ]
        if strange and self.vector:
            raise ValueError(f"`{strange[0]}` is for masks: choose features by `where`, as in \"class = 'flood'\"")
        if strange:
            raise ValueError(
                f"`{strange[0]}` is for drawn labels ({', '.join(VECTOR_SUFFIXES)}), not for a mask of pixels"
            )
        if self.vector:
            self._check_parts()
        return self

    def _check_parts(self) -> None:
        """Refuse parts of drawn labels that cannot be told apart."""
        own = (self.layer, self.where)
        for name in ("background", "ignore", "extent"):
            part = getattr(self, name)
            if isinstance(part, Features) and (part.layer or self.layer, part.where) == own:
                raise ValueError(f"`{name}` names the same features as the class: give both a `where` or a `layer`")
            if isinstance(part, Features) and self.where is None and part.layer in (None, self.layer):
                raise ValueError(
                    f"say with `where` which features are the class: `{name}` are others of the same layer"
                )
        if self.complete and self.extent is not None:
            raise ValueError("`complete: true` says that everything is drawn, `extent` says where: give one of the two")


def ignored_values(value: object) -> tuple[int, ...]:
    """What `ignore` of a mask of pixels names, checked as in a pipeline file.

    Raises:
        ValueError: it is neither a whole number nor a list of such; says so in plain words.
    """
    data = {"image": "image.tif", "mask": "mask.tif", "ignore": value}
    try:
        named = Example.model_validate(data).ignore
    except ValidationError as error:
        problem = next(from_pydantic(error, data, {}, "docs/configuration.md", Example))
        raise ValueError(f'"ignore": {problem.what}') from error
    assert isinstance(named, list)  # a filter of features was refused
    return tuple(named)


_OF_VECTORS = ("layer", "where", "complete", "extent", "width", "crs", "window")
