"""A scene: where it is, what its header says, and what is strange about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np


@dataclass(frozen=True)
class Band:
    """One band of a scene.

    Attributes:
        name: description in the file, e.g. ``VV``; empty if it has none.
        unit: unit of the values after scale and offset, e.g. ``dB`` or ``HU``; empty if unknown.
        role: what the band holds instead of measurements: ``alpha`` (how opaque the others are) or ``palette`` (numbers
            of colors); empty for measurements.
        nodata: value that the file declares to mean no data, as stored; None without one, and for NaN, which is never
            valid.
    """

    name: str = ""
    unit: str = ""
    role: Literal["", "alpha", "palette"] = ""
    nodata: float | None = None


@dataclass(frozen=True)
class RasterGeometry:
    """Where a raster lies.

    Attributes:
        transform: affine (a, b, c, d, e, f) from (column, row) to CRS units, as GDAL and `affine` order it.
        crs_wkt: the coordinate reference system as WKT; None if the file has none.
    """

    transform: tuple[float, float, float, float, float, float]
    crs_wkt: str | None = None


@dataclass(frozen=True)
class VolumeGeometry:
    """Where a volume lies in the patient.

    Attributes:
        affine: row-major 4x4 from voxel index (x, y, z, 1) to millimetres in DICOM's patient system (LPS).
        frame_of_reference: hashed identifier of the frame of reference; empty if unknown.
        located: the affine leads into the patient. False for images without a position: what it says of places is then
            a stand-in, and no product may pass it on as a place.
        measured: the extent of a voxel is known along all three axes. False for projections, for frames without a
            position and for a slice of unknown thickness: no volume is measured there.
    """

    affine: tuple[float, ...]
    frame_of_reference: str = ""
    located: bool = True
    measured: bool = True

    @property
    def voxel_volume_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        matrix = np.asarray(self.affine, dtype=np.float64).reshape(4, 4)
        return float(abs(np.linalg.det(matrix[:3, :3]))) / 1000.0


@dataclass(frozen=True, slots=True)
class SceneRef:
    """A scene as discovery finds it, before any header is read. Small and picklable: an archive may hold a million.

    Attributes:
        id: unique within the archive and safe as a folder name; carries no patient data.
        uri: what the reader opens: a path, `s3://...` or, for a series, its folder.
        reader: entry point name of the reader that found it.
        identity: changes whenever the content may have changed (size and mtime, an ETag, hashed UIDs).
        members: all files of a scene that has several, in any order; empty for one file.
        private: `uri` and `members` may hold personal data (a patient's name in a path) and are never shown.
        recipe: what the reader noted when it found the scene, to open it by; the core only carries it.
        remote: it lies on another machine and cannot be opened: a `RemoteReader` fetches it first.
        about: what a list tells of a remote one, for `plan` (``CT, 120 instances``); carries no patient data.
    """

    id: str
    uri: str
    reader: str
    identity: str
    members: tuple[str, ...] = ()
    private: bool = False
    recipe: str = ""
    remote: bool = False
    about: str = ""

    @property
    def shown(self) -> str:
        """How logs, reports and messages name the input."""
        return self.id if self.private else self.uri


@dataclass(frozen=True)
class SceneWarning:
    """Something about a scene, or about its result, that a person should look at; the scene is processed all the same.

    Attributes:
        kind: short name for programs and for summing up, e.g. ``no_crs``; letters, digits and underscores.
        what: one sentence for people; carries no patient data.
        remedy: what the user can do; may be empty.
        suspect: the result may be nonsense: a run with `execution.strict` quarantines the scene instead.
    """

    kind: str
    what: str
    remedy: str = ""
    suspect: bool = True

    def as_dict(self) -> dict[str, str | bool]:
        """The warning as `run.json` and the log carry it."""
        return {"kind": self.kind, "what": self.what, "remedy": self.remedy, "suspect": self.suspect}


@dataclass(frozen=True)
class SceneHeader:
    """What can be known of a scene without reading pixels.

    Attributes:
        ref: the scene.
        shape: (bands, z, y, x), all at least 1.
        dtype: numpy name of the stored type.
        bands: one entry per band.
        geometry: where the scene lies.
        chunk: (height, width) of the file's own tiling, a hint for reading.
        warnings: what the user should know (no CRS, assumed values, ...). A plain text is a fact and nothing worse.
        attributes: what the reader wants to hand to a writer of its own kind; JSON-able, no patient data. The core
            reads only ``datetime`` or ``start_datetime`` of a raster: when it was taken, ISO 8601.
    """

    ref: SceneRef
    shape: tuple[int, int, int, int]
    dtype: str
    bands: tuple[Band, ...]
    geometry: RasterGeometry | VolumeGeometry
    chunk: tuple[int, int] = (256, 256)
    warnings: tuple[str | SceneWarning, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Skipped:
    """Something that discovery saw and left out.

    Attributes:
        uri: path or hashed identifier.
        reason: one line.
    """

    uri: str
    reason: str
