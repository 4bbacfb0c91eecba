"""What a pipeline file may say about reading DICOM: the reader's name and its options."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, get_args

from hdm_dicom.selection import Selection
from hdm_pipeline.errors import ConfigError

READER = "dicom"
"""The reader's name: `input.reader` of a pipeline file, and `SceneRef.reader`."""

Plane = Literal["acquired", "axial", "coronal", "sagittal"]
Policy = Literal["strict", "split", "resample"]
Retrieve = Literal["get", "move"]
Units = Literal["rescaled", "suv", "philips", "real_world"]
Voi = Literal["ignore", "apply"]

TOLERANCE = 0.05
"""Share of the usual spacing by which a spacing, or the place of a slice, may differ. The beds of a PET overlap by some
hundredths of a millimetre too much or too little, and positions are written with few digits."""

_MAX_NEIGHBORS = 1
_MOST_TOLERANCE = 0.5


@dataclass(frozen=True)
class Assumed:
    """What the user vouches for where a file states nothing.

    Attributes:
        pixel_spacing: mm between rows, mm between columns; None for nothing.
    """

    pixel_spacing: tuple[float, float] | None = None

    @classmethod
    def parse(cls, value: object) -> Assumed:
        """Check what stands under `assume`.

        Raises:
            ConfigError: unknown name, or no pair of lengths.
        """
        if isinstance(value, cls):
            return value
        where = "input.options.assume"
        remedy = "write `assume: {pixel_spacing: [ROW_MM, COLUMN_MM]}`"
        if not isinstance(value, Mapping):
            raise ConfigError("assume is no mapping", where=where, remedy=remedy)
        check_names(value, [f.name for f in fields(cls)], where)
        pair = value.get("pixel_spacing")
        if pair is None:
            return cls()
        lengths = [float(v) for v in pair if type(v) in (int, float)] if isinstance(pair, list | tuple) else []
        if len(lengths) != 2 or len(pair) != 2 or not all(0 < length < math.inf for length in lengths):
            raise ConfigError("pixel_spacing is no pair of lengths above 0", where=where, remedy=remedy)
        return cls((lengths[0], lengths[1]))


@dataclass(frozen=True)
class ReaderOptions:
    """Options of the reader, as they stand in the YAML.

    Attributes:
        plane: the plane of the tiles; `acquired` is that of the stored slices, the others are anatomical and show the
            patient the usual way up (L to the right, and A up or S up).
        policy: what happens to series with missing slices, uneven spacing, gantry tilt or several images at one place:
            `strict` refuses them, `split` cuts them into regular parts, `resample` interpolates a regular grid.
        neighbors: 1 adds the slices below and above as bands (for monochrome series); 0 does not.
        tolerance: share of the slice spacing (0..0.5) by which slices may miss an even grid and count as regular.
        assume: what counts where a file states nothing.
        include_derived: also take localizers, projections and screenshots.
        units: what pixel values are: `rescaled` as each file says (HU, BQML, ...), `suv` the standardized uptake value
            of PET by body weight, `philips` the floating point values of Philips MR, `real_world` those of the
            file's real world value mapping.
        voi: `apply` turns values into 0..1 as a viewer first shows them, by VOI LUT or window; `ignore` does not.
        max_frame_pixels: most rows x columns of one image.
        max_frames: most images of one volume.
        max_volume_bytes: most decoded bytes (float32) of one volume.
        select: which series are worked on: `input.select` of the pipeline file. Volumes do not depend on it.
        query: matching keys for a PACS, by keyword, beside those of the address. May name a patient.
        connection: how a PACS is reached: `hdm_dicom.pacs.connection.Connection`, by name.
        retrieve: how series come by DIMSE: `get` (C-GET, in one association) or `move` (C-MOVE, the PACS calls us).
        move_port: TCP port on which we listen for C-MOVE.
        max_fetch_bytes: most bytes of one series that is fetched.
        allow_network: addresses of a PACS are asked; the pipeline file says `input.network`.
    """

    plane: Plane = "acquired"
    policy: Policy = "strict"
    neighbors: int = 0
    tolerance: float = TOLERANCE
    assume: Assumed = Assumed()
    include_derived: bool = False
    units: Units = "rescaled"
    voi: Voi = "ignore"
    max_frame_pixels: int = 1 << 26
    max_frames: int = 20_000
    max_volume_bytes: int = 64 << 30
    select: Selection = field(default=Selection(), repr=False)
    query: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    connection: tuple[tuple[str, Any], ...] = ()
    retrieve: Retrieve = "get"
    move_port: int = 11112
    max_fetch_bytes: int = 32 << 30
    allow_network: bool = False

    @classmethod
    def parse(cls, options: Mapping[str, Any] | None) -> ReaderOptions:
        """Check options by name, type and value.

        Raises:
            ConfigError: unknown name, wrong type or value.
        """
        options = dict(options or {})
        check_names(options, [f.name for f in fields(cls)], "input.options")
        default = cls()
        options |= {name: _pairs(options[name], name) for name in ("query", "connection") if name in options}
        if "assume" in options:
            options["assume"] = Assumed.parse(options["assume"])
        if type(options.get("tolerance")) is int:
            options["tolerance"] = float(options["tolerance"])
        if "select" in options:
            options["select"] = Selection.parse(options["select"], "input.select")
        for name, value in options.items():
            if type(value) is not type(getattr(default, name)):
                kind = type(getattr(default, name)).__name__
                remedy = f"the default is {getattr(default, name)!r}; docs/dicom.md says what it may be"
                where = f"input.options.{name}"
                raise ConfigError(f"option {name!r} must be of type {kind}", where=where, remedy=remedy)
        parsed = cls(**options)
        one_of(parsed.plane, get_args(Plane), "input.options.plane")
        one_of(parsed.policy, get_args(Policy), "input.options.policy")
        one_of(parsed.units, get_args(Units), "input.options.units")
        one_of(parsed.voi, get_args(Voi), "input.options.voi")
        if parsed.voi == "apply" and parsed.units != "rescaled":
            raise ConfigError(
                "`voi: apply` fits rescaled values only",
                where="input.options.voi",
                remedy="leave out `units` or `voi`: windows of a file are in its rescaled values",
            )
        one_of(parsed.neighbors, tuple(range(_MAX_NEIGHBORS + 1)), "input.options.neighbors")
        if not 0 <= parsed.tolerance <= _MOST_TOLERANCE:
            what = f"tolerance is a share of the spacing, 0 to {_MOST_TOLERANCE}"
            raise ConfigError(what, where="input.options.tolerance", remedy=f"leave it out for {TOLERANCE}")
        one_of(parsed.retrieve, get_args(Retrieve), "input.options.retrieve")
        if not 0 < parsed.move_port < 1 << 16:
            raise ConfigError("no TCP port", where="input.options.move_port", remedy="use 1 to 65535, e.g. 11112")
        for name in ("max_frame_pixels", "max_frames", "max_volume_bytes", "max_fetch_bytes"):
            if getattr(parsed, name) < 1:
                remedy = f"leave it out for {getattr(default, name)}"
                where = f"input.options.{name}"
                raise ConfigError(f"option {name!r} must be at least 1", where=where, remedy=remedy)
        return parsed

    def as_dict(self) -> dict[str, Any]:
        """The options that say how volumes are read, as JSON-able values; `parse` takes them back."""
        return {name: value for name, value in asdict(self).items() if name not in NOT_PIXELS}

    def local(self) -> ReaderOptions:
        """The same for files that are here: nothing of a PACS."""
        default = ReaderOptions()
        return replace(self, **{name: getattr(default, name) for name in _OF_A_PACS})


_OF_A_PACS = ("query", "connection", "retrieve", "move_port", "max_fetch_bytes", "allow_network")

NOT_PIXELS = (*_OF_A_PACS, "select")
"""Options that say which series are read, where they come from and how; pixels do not depend on them."""


def _pairs(given: Any, name: str) -> tuple[tuple[str, Any], ...]:
    """A mapping as pairs, which can be hashed."""
    if not isinstance(given, Mapping) or not all(isinstance(key, str) for key in given):
        remedy = f"write it as keys and values: `{name}: {{KEY: VALUE}}`"
        raise ConfigError(f"option {name!r} must be a mapping", where=f"input.options.{name}", remedy=remedy)
    if name == "connection":
        return tuple(given.items())
    for key, value in given.items():
        if type(value) not in (str, int) or not str(value) or not str(value).isprintable():
            remedy = "give what the PACS is to match (`Modality: CT`), or leave the key out"
            where = f"input.options.query.{key}"
            raise ConfigError("a matching key needs a text or a number", where=where, remedy=remedy)
    return tuple((key, str(value)) for key, value in given.items())


def check_names(options: Mapping[str, Any], known: list[str], where: str) -> None:
    """Raise `ConfigError` for an option that is not known."""
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ConfigError(f"unknown option {unknown[0]!r}", where=where, remedy=f"use one of: {', '.join(known)}")


def one_of(value: object, allowed: tuple[object, ...], where: str) -> None:
    """Raise `ConfigError` unless the value is one of those allowed."""
    if value not in allowed:
        listed = ", ".join(str(a) for a in allowed)
        raise ConfigError(f"{value!r} is not possible here", where=where, remedy=f"use one of: {listed}")
