"""The pipeline file as types. Unknown keys are refused; every field says what it means and in which unit.

`hdm_pipeline.config.file` turns YAML into these models; nothing here knows YAML or touches a disk.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, field_validator, model_validator

from hdm_pipeline.config.base import Model, Place
from hdm_pipeline.config.example import Example
from hdm_pipeline.config.listen import Listen
from hdm_pipeline.config.palette import default_colors
from hdm_pipeline.config.report import Report
from hdm_pipeline.config.send import Peers, check_peers
from hdm_pipeline.errors import counted

_COLOR = re.compile(r"#[0-9a-fA-F]{6}")

Range = tuple[float, float]

MAX_BANDS = 32
"""Most bands of an image."""

WINDOWS: dict[str, Range] = {
    "abdomen": (-160.0, 240.0),
    "liver": (-45.0, 105.0),
    "lung": (-1350.0, 150.0),
    "bone": (-450.0, 1050.0),
    "brain": (0.0, 80.0),
}
"""Usual windows of CT, in HU."""


def _window(value: object) -> object:
    if not isinstance(value, str):
        return value
    if value not in WINDOWS:
        raise ValueError(f"no window is called {value!r}; known are {', '.join(WINDOWS)}")
    return WINDOWS[value]


Values = float | list[float | None] | dict[str, float | list[float | None] | None]
"""A number for all bands, one a band, or either by globs of scene ids."""

_READER_KEYS = ("nodata", "scale_factor", "offset")
"""Keys of `input` that are options of the reader: short to write, and for every reader that knows them."""


Fixed = Annotated[
    Range | list[Range] | None,
    BeforeValidator(
        _window,
        json_schema_input_type=Literal["abdomen", "liver", "lung", "bone", "brain"] | Range | list[Range] | None,
    ),
]


class Scale(Model):
    """How pixel values become 0..1: the same for every tile, never per tile.

    Exactly one of the two: `fixed` ranges (one for all bands, or one a band), or `percentiles` of each scene.
    """

    fixed: Fixed = Field(
        None,
        description="[low, high] that become 0 and 1, in the units of the bands; one such pair a band; or the name of "
        "a window of CT",
    )
    percentiles: Range | None = Field(None, description="[low, high] percentiles (0..100) of the scene's valid pixels")

    @model_validator(mode="after")
    def _one_kind(self) -> Scale:
        if (self.fixed is None) == (self.percentiles is None):
            raise ValueError("give either `fixed` or `percentiles`")
        ranges = [self.percentiles] if self.percentiles else self.ranges(len(self.fixed or ()))
        if any(not low < high for low, high in ranges):
            raise ValueError("the low end must be below the high end")
        if self.percentiles and not (self.percentiles[0] >= 0 and self.percentiles[1] <= 100):
            raise ValueError("percentiles lie between 0 and 100")
        return self

    def ranges(self, bands: int) -> list[Range]:
        """The fixed ranges, one a band; empty where percentiles are asked for."""
        if self.fixed is None:
            return []
        if isinstance(self.fixed, tuple):
            return [self.fixed] * bands
        return self.fixed


_BANDS_LISTED = {
    "type": "array",
    "items": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
    "minItems": 1,
    "maxItems": MAX_BANDS,
}
_BANDS_BY_PATTERN = {"type": "object", "additionalProperties": {"type": "string"}, "minProperties": 1}


class Input(Model):
    """The archive and how its pixels are read."""

    uri: Place | list[Place] = Field(description="path, folder, glob, list file or bucket prefix; or several of them")
    reader: str = Field("geotiff", description="entry point name of the reader plug-in")
    exclude: list[str] = Field(default_factory=list, description="globs of scene ids to leave out")
    bands: Annotated[
        list[int | str], WithJsonSchema({"anyOf": [_BANDS_LISTED, _BANDS_BY_PATTERN]}, mode="validation")
    ] = Field(
        default=[1],
        min_length=1,
        max_length=MAX_BANDS,
        description="1 to 32: one-based index, description, or arithmetic such as `VV - VH`; or a mapping from names "
        "to patterns of files that hold one band each",
    )
    scale: Scale
    nodata: Values | None = Field(None, description="stored value that means no data (geotiff)")
    scale_factor: Values | None = Field(None, description="value = stored * scale_factor + offset (geotiff)")
    offset: Values | None = Field(None, description="see scale_factor; -1000 for Sentinel-2 since baseline 04.00")
    aoi: Place | None = Field(None, description="GeoJSON polygon outside which everything is nodata (geotiff)")
    network: bool = Field(False, description="inputs on the network may be asked and fetched: it must be said")
    select: dict[str, Any] | None = Field(
        None,
        description="which series are worked on, by `modality`, `series_description`, `protocol`, `body_part`, "
        "`image_type` and `manufacturer` (globs, or lists of them), `min_slices`, `max_slices`, and what to `exclude` "
        "(dicom)",
    )
    options: dict[str, Any] = Field(default_factory=dict, description="options of the reader plug-in")

    @property
    def uris(self) -> list[str]:
        """All inputs as a list."""
        return [self.uri] if isinstance(self.uri, str) else self.uri

    def reader_options(self) -> dict[str, Any]:
        """What the reader is constructed with: its options, and the keys of `input` that are the reader's."""
        more = {"aoi": self.aoi, "select": self.select, "allow_network": self.network or None}
        return {**self.options, **{name: value for name, value in more.items() if value is not None}}

    @model_validator(mode="before")
    @classmethod
    def _options_of_the_reader(cls, data: Any) -> Any:
        """Keys that say how files are read become options of the reader, where they are part of a scene's key."""
        if not isinstance(data, dict):
            return data
        data = dict(data)
        moved = {key: value for key in _READER_KEYS if (value := data.pop(key, None)) is not None}
        if isinstance(data.get("bands"), dict):
            moved["bands"] = data["bands"]
            data["bands"] = list(range(1, len(moved["bands"]) + 1))
        given = data.get("options") or {}
        if moved and isinstance(given, dict):
            if twice := [key for key in moved if key in given]:
                raise ValueError(f"{twice[0]} is given twice, under input and under input.options: keep one")
            data["options"] = {**given, **moved}
        return data

    @model_validator(mode="after")
    def _ranges_match_bands(self) -> Input:
        fixed = self.scale.fixed
        if isinstance(fixed, list) and len(fixed) != len(self.bands):
            ranges, bands = counted(len(fixed), "range"), counted(len(self.bands), "band")
            raise ValueError(f"scale.fixed has {ranges} for {bands}: give one range, or one a band")
        if "aoi" in self.options:
            raise ValueError("the area of interest is input.aoi, not an option: its content is part of the scene's key")
        if "select" in self.options:
            raise ValueError("the choice of series is input.select, not an option: no scene's pixels depend on it")
        return self


class ClassConfig(Model):
    """One class to segment."""

    name: str = Field(min_length=1, max_length=64)
    color: str | None = Field(
        None, description="#rrggbb in products; by default the next of a palette that colour-blind people can read"
    )
    codes: dict[Literal["category", "type", "anatomy"], str] = Field(
        default_factory=dict, description='coded terms for DICOM, "SCHEME:VALUE:MEANING"'
    )
    examples: list[Example] = Field(description="at least one to run; none yet where the studio is to label the first")

    @field_validator("color")
    @classmethod
    def _is_color(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if not _COLOR.fullmatch(value):
            raise ValueError("a colour is written #rrggbb")
        return value.lower()

    @model_validator(mode="after")
    def _something_is_background(self) -> ClassConfig:
        drawn = [e for e in self.examples if e.vector]
        if (
            drawn
            and len(drawn) == len(self.examples)
            and not any(e.everything_is_drawn or e.background or e.extent is not None for e in drawn)
        ):
            raise ValueError(
                "nothing says what is not the class: draw some background and name it "
                "(`background: \"class = 'dry'\"`), or say `complete: true` if everything is drawn, "
                "or where it is (`extent`)"
            )
        return self

    @property
    def rgb(self) -> tuple[int, int, int]:
        """The colour as three values 0..255; `Support` gives each of its classes one."""
        red, green, blue = bytes.fromhex((self.color or next(default_colors()))[1:])
        return red, green, blue


class AdaptSteps(Model):
    """A fixed number of adaptation steps."""

    steps: Annotated[int, Field(ge=0, le=1000)]


class Support(Model):
    """The support set: what to look for, by example."""

    classes: list[ClassConfig] = Field(min_length=1, max_length=254)
    adapt: Literal["auto", "off"] | AdaptSteps = Field(
        "auto", description="train a copy of the weights on the examples first; `auto` keeps it only if it helps"
    )

    calibrate: Literal["auto", "off"] = Field(
        "auto", description="scores as sure as held-out examples say; a mask at the threshold 0.5 does not change"
    )

    @field_validator("classes")
    @classmethod
    def _each_has_a_color(cls, value: list[ClassConfig]) -> list[ClassConfig]:
        named = {one.color for one in value}
        free = (color for color in default_colors() if color not in named)
        return [one if one.color else one.model_copy(update={"color": next(free)}) for one in value]

    @field_validator("adapt", "calibrate", mode="before")
    @classmethod
    def _yaml_off(cls, value: object) -> object:
        # YAML 1.1 reads a bare `off` as false.
        return "off" if value is False else value

    @model_validator(mode="after")
    def _unique_names(self) -> Support:
        names = [c.name for c in self.classes]
        if len(set(names)) != len(names):
            raise ValueError("two classes have one name: rename one")
        return self


class BackboneConfig(Model):
    """The backbone of another family, from a folder on disk."""

    family: Literal["transformers"] = Field(description="who wrote the folder: Hugging Face transformers")
    path: Place = Field(description="folder with config.json and *.safetensors; nothing is ever downloaded")
    add_weights: bool = Field(False, description="add the log odds of `model.weights` to those of the backbone")


class ModelConfig(Model):
    """The network."""

    backbone: BackboneConfig | None = Field(
        None, description="use this backbone, frozen, under a closed-form rule, instead of `weights`"
    )
    weights: Place = Field("builtin:pyramid", description="builtin:NAME, a .safetensors or a released .pth file")
    sha256: str | None = Field(None, description="refuse weights whose file has another SHA-256")
    precision: Literal["fp32", "bf16", "int8", "auto"] = "fp32"
    runtime: Literal["torch", "openvino"] = "torch"
    base_learner: bool | None = Field(
        None, description="use what the weights know of everyday objects (HDMNet only): on, off, or as the weights say"
    )
    reduction: Literal["auto"] | Annotated[float, Field(ge=1, le=64)] = Field(
        "auto",
        description="the network sees the image this many times smaller; auto: as segments held-out examples best",
    )
    augment: Literal["none", "flips", "rotations"] = Field(
        "none", description="average over 4 flipped, or 8 flipped and turned views of each tile: 4 or 8 times the time"
    )

    @property
    def source(self) -> str:
        """What names the network, for whoever loads it: `weights`, or the backbone's folder."""
        if self.backbone is None:
            return self.weights
        return f"transformers:{self.backbone.path}" + (f"::{self.weights}" if self.backbone.add_weights else "")


class Tiling(Model):
    """How a scene is cut."""

    size: Annotated[int, Field(ge=32, le=4096, description="tile side in pixels")] = 512
    overlap: Annotated[int, Field(ge=0, description="pixels shared by neighbouring tiles")] = 64
    block: Annotated[int, Field(ge=1, le=256, description="tiles in a block: the unit of work, retry and resume")] = 16

    @model_validator(mode="after")
    def _overlap_fits(self) -> Tiling:
        if 2 * self.overlap > self.size:
            raise ValueError("overlap must be at most half of size")
        return self


class Execution(Model):
    """Where and how wide the work runs. Nothing here changes pixels but `batch_size`."""

    executor: Literal["inline", "ray"] = "ray"
    address: Place | None = Field(None, description="Ray cluster to join; without it a local Ray is started")
    actors: Annotated[int, Field(ge=1)] | Literal["auto"] = Field("auto", description="model actors")
    gpus_per_actor: Annotated[float, Field(ge=0)] | Literal["auto"] = "auto"
    threads: Annotated[int, Field(ge=1)] | Literal["auto"] = Field("auto", description="CPU threads an actor")
    batch_size: Annotated[int, Field(ge=1, le=256)] = 4
    blocks_in_flight: Annotated[int, Field(ge=1, le=8, description="blocks queued at each actor")] = 2
    fetch_ahead: Annotated[int, Field(ge=1, le=64, description="scenes of a PACS on this disk before they start")] = 4
    strict: bool = Field(
        False, description="quarantine scenes whose warnings say that the result may be nonsense, and refuse examples"
    )
    work: Place | None = Field(
        None,
        description="where staged pixels and scores lie: a path, or s3://, gs://, az://; with the output if left out",
    )
    step_timeout: Annotated[float, Field(gt=0, description="seconds after which a step counts as hung")] = 1800.0


class Output(Model):
    """What is published, and where."""

    directory: Place
    products: list[str | dict[str, dict[str, Any]]] = Field(
        default=["mask"], min_length=1, description="writer names, or {name: options}"
    )
    threshold: Annotated[float, Field(gt=0, le=1, description="least score that counts as the class")] = 0.5
    keep: Literal["scores", "all", "nothing"] = Field(
        "scores", description="what stays under .hdm: scores (a new threshold needs no inference), staged pixels too"
    )

    send: Peers = Field(default=[], description="peers that get the products of scenes that are done, such as a PACS")

    @field_validator("products")
    @classmethod
    def _one_name_each(cls, value: list[Any]) -> list[Any]:
        if any(isinstance(p, dict) and len(p) != 1 for p in value):
            raise ValueError("a product is a name, or one name with its options")
        names = [p if isinstance(p, str) else next(iter(p)) for p in value]
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"the product {twice!r} is named twice: name it once")
        return value

    @model_validator(mode="after")
    def _send_what_is_made(self) -> Output:
        check_peers(self.send, self.product_options())
        return self

    def product_options(self) -> dict[str, dict[str, Any]]:
        """Options by product name, in the order given."""
        return dict(_product(entry) for entry in self.products)


def _product(entry: str | dict[str, dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    return (entry, {}) if isinstance(entry, str) else next(iter(entry.items()))


FILE_VERSION = 1
"""Of pipeline files: raised when a file that was right would be wrong, or mean something else."""


class PipelineConfig(Model):
    """A whole pipeline file."""

    version: int = Field(1, description="of the pipeline file's format (docs/versions.md)")
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description="shown in run.json and product tags")
    input: Input
    support: Support
    model: ModelConfig = ModelConfig()
    tiling: Tiling = Tiling()
    execution: Execution = Execution()
    output: Output
    report: Report = Report()
    listen: Listen | None = Field(None, description="what `listen` takes in; input.uri may then be left out")

    @field_validator("version")
    @classmethod
    def _known_version(cls, value: int) -> int:
        if value != FILE_VERSION:
            raise ValueError(
                f"this release reads pipeline files of version {FILE_VERSION}: "
                + ("install a newer release" if value > FILE_VERSION else "write `version: 1`, or leave it out")
            )
        return value

    @model_validator(mode="before")
    @classmethod
    def _deliveries_are_the_input(cls, data: Any) -> Any:
        """A pipeline that listens needs no archive; `run` says so where there is none."""
        if isinstance(data, dict) and data.get("listen") and isinstance(source := data.get("input"), dict):
            return {**data, "input": {"uri": [], **source}}
        return data
