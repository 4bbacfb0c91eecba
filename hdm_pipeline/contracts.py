"""What plug-ins implement, and the frozen values that travel between rooms.

A reader plug-in turns files into pixels, a writer plug-in turns masks into products. Both are found by entry point
(`hdm_pipeline.readers`, `hdm_pipeline.writers`; the writer's entry point name is the product's name in the YAML) and
know nothing but this module, `hdm_pipeline.grid` and `hdm_pipeline.errors`.

Axes are always (band, z, y, x). A raster has z = 1; a volume's z runs along the slice normal.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

from hdm_pipeline.grid import Window

Pixels: TypeAlias = npt.NDArray[np.float32]
"""[bands, y, x] where nothing else is said: in the units of the scene, or in 0..1."""

Validity: TypeAlias = npt.NDArray[np.bool_]
"""[y, x]: False where pixels hold no data."""

Labels: TypeAlias = npt.NDArray[np.uint8]
"""[y, x]: 1 the class, 0 background, 255 ignored."""

BACKGROUND = 0
"""Mask value of pixels that are valid and belong to no class."""

NODATA = 255
"""Mask value of pixels that hold no data; classes are 1..254."""

IGNORE = 255
"""Label value of support pixels that are neither target nor background."""


STATISTICS_PIXELS = 1 << 18
"""Pixels of a scene from which percentiles are taken."""

OUTPUT_MARKER = ".hdm"
"""Folder in every output directory of this program. A reader that looks through folders passes over a subfolder that
holds one: products are no scenes."""


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
    """

    affine: tuple[float, ...]
    frame_of_reference: str = ""

    @property
    def voxel_volume_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        matrix = np.asarray(self.affine, dtype=np.float64).reshape(4, 4)
        return float(abs(np.linalg.det(matrix[:3, :3]))) / 1000.0


@dataclass(frozen=True)
class SceneRef:
    """A scene as discovery finds it, before any header is read. Small and picklable.

    Attributes:
        id: unique within the archive and safe as a folder name; carries no patient data.
        uri: what the reader opens: a path, `s3://...` or, for a series, its folder.
        reader: entry point name of the reader that found it.
        identity: changes whenever the content may have changed (size and mtime, an ETag, hashed UIDs).
        members: all files of a scene that has several, in any order; empty for one file.
        private: `uri` and `members` may hold personal data (a patient's name in a path) and are never shown.
        recipe: what the reader noted when it found the scene, to open it by; the core only carries it.
    """

    id: str
    uri: str
    reader: str
    identity: str
    members: tuple[str, ...] = ()
    private: bool = False
    recipe: str = ""

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
        attributes: what the reader wants to hand to a writer of its own kind; JSON-able, no patient data.
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


@dataclass(frozen=True)
class Selection:
    """Some of the features of a vector file.

    Attributes:
        layer: name of the layer; None where the file has one layer.
        where: filter by attributes, as the WHERE of SQL (``class = 'flood'``); None for all features of the layer.
    """

    layer: str | None = None
    where: str | None = None


@dataclass(frozen=True)
class ImageWindow:
    """The part of an image that is an example; one of the two.

    Attributes:
        pixels: (column, row, width, height), counted from the upper left corner.
        bounds: (left, bottom, right, top) in `crs`.
        crs: of the bounds; None for the image's.
    """

    pixels: tuple[int, int, int, int] | None = None
    bounds: tuple[float, float, float, float] | None = None
    crs: str | None = None


@dataclass(frozen=True)
class VectorLabels:
    """How the features of a vector file become labels.

    A pixel belongs to a polygon if its centre does, to a line if the line runs through it, to a point if the point lies
    in it. Where target and background overlap, the smaller feature lies on top. What is not drawn is unknown.

    Attributes:
        target: features that are the class.
        background: features that are background; None for none.
        ignore: features within which everything is unknown, whatever else is drawn there; None for none.
        extent: polygons within which everything is drawn: the rest of them is background; None for none.
        complete: everything is drawn: the rest of the image, or of its window, is background.
        width: width of lines and diameter of points, above 0.
        width_unit: ``m`` on the ground, or ``px``.
        crs: of the file's coordinates, where the file names none, or a wrong one; None to take the file's.
        window: part of the image; None for all of it, or where it is large, for the parts in which something is drawn.
        optional: the image is one of many: if nothing is drawn in it, it is no example, and that is no error.
    """

    target: Selection = Selection()
    background: Selection | None = None
    ignore: Selection | None = None
    extent: Selection | None = None
    complete: bool = False
    width: float | None = None
    width_unit: Literal["m", "px"] = "px"
    crs: str | None = None
    window: ImageWindow | None = None
    optional: bool = False

    def selections(self) -> dict[str, Selection]:
        """What is selected, by its part: ``target``, ``background``, ``ignore`` and ``extent``."""
        parts = {"target": self.target, "background": self.background, "ignore": self.ignore, "extent": self.extent}
        return {part: selection for part, selection in parts.items() if selection is not None}


@dataclass(frozen=True)
class SupportRequest:
    """One labelled example as the pipeline file names it.

    Attributes:
        image: path or URI of the image (for a volume: its folder or any of its files).
        mask: path or URI of the labels.
        values: label values (or segment numbers) that mean the class.
        ignore: label values that are neither class nor background.
        slices: z indices to use of a volume; empty for all slices that hold the class.
        segment: name of a segment or structure, where the label format has names; else None.
        background: label values that are background; everything that neither these nor `values` name is then unknown.
            Empty: everything else is background, but for 255 in labels of eight bits, which means unknown.
        vector: `mask` is a vector file, and this says what its features mean; only for a `VectorLabelReader`. `values`,
            `ignore`, `slices`, `segment` and `background` then say nothing.
    """

    image: str
    mask: str
    values: tuple[int, ...] = (1,)
    ignore: tuple[int, ...] = ()
    slices: tuple[int, ...] = ()
    segment: str | None = None
    background: tuple[int, ...] = ()
    vector: VectorLabels | None = None


@dataclass(frozen=True, eq=False)
class LabeledImage:
    """One labelled 2-D example, in the units of the scene.

    Attributes:
        name: for messages; carries no patient data.
        pixels: [bands, y, x] float32, scale and offset applied.
        valid: [y, x] bool, False where the pixels hold no data.
        label: [y, x] uint8: 1 the class, 0 background, 255 ignored (invalid pixels too).
        bands: one entry per band.
        pixel_size: side of a pixel in metres, the root of its area; None where it is unknown.
        warnings: what is strange about the labels; told in `run.json` and at the start of a run.
        statistics: if the example is a part of an image, valid pixels of all of it: what `SceneSource.sample` gives of
            all bands and `STATISTICS_PIXELS`. Where percentiles are asked for they scale the part, as they scale the
            scene. None if the example's own pixels do.
    """

    name: str
    pixels: npt.NDArray[np.float32]
    valid: npt.NDArray[np.bool_]
    label: npt.NDArray[np.uint8]
    bands: tuple[Band, ...]
    pixel_size: float | None = None
    warnings: tuple[SceneWarning, ...] = ()
    statistics: npt.NDArray[np.float32] | None = None


@runtime_checkable
class SceneSource(Protocol):
    """An open scene. Used by one thread at a time; never shared."""

    header: SceneHeader

    def read(self, window: Window, bands: Sequence[int]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Read a window that lies within the scene.

        Args:
            window: part of one slice.
            bands: zero-based band indices.

        Returns:
            Pixels [len(bands), height, width] float32 with scale and offset applied, and validity [height, width]:
            False where any of the bands is nodata, NaN, masked or transparent, or the pixel lies outside the area
            of interest. Pixels are finite where valid.

        Raises:
            ReadError: the file cannot be decoded there.
        """
        ...

    def sample(self, bands: Sequence[int], max_pixels: int) -> npt.NDArray[np.float32]:
        """Valid pixels spread evenly over the scene, for statistics: [len(bands), n], n at most `max_pixels`.

        Deterministic. Reads overviews or strides, never the whole scene.
        """
        ...

    def row_areas(self) -> npt.NDArray[np.float64] | None:
        """Area in m² of one pixel in each row: [y]; None where the scene has no usable coordinates."""
        ...


@runtime_checkable
class Reader(Protocol):
    """Finds and opens scenes of one kind. Constructed with the YAML's reader options (ConfigError if unknown).

    A class with an attribute `takes_bands` that is true gets one more option, `asked`: the entries of `input.bands` as
    a list of text. It may leave other bands unopened, or out of the header. A reader may have a method
    `example_files(request: SupportRequest) -> list[str]`: files on disk, beside image and mask and what is called like
    them, that an example is read from; the supports are then hashed with them.
    A class may also say `volumes = True`: its scenes are volumes.
    """

    name: ClassVar[str]

    def __init__(self, options: Mapping[str, Any] | None = None) -> None: ...

    def discover(self, uri: str) -> Iterator[SceneRef | Skipped]:
        """Find the scenes behind a path, glob, list file or bucket prefix, sorted by id, without reading pixels.

        Raises:
            EmptyArchiveError: nothing is there.
            ArchiveError: two scenes have one id.
        """
        ...

    def header(self, ref: SceneRef) -> SceneHeader:
        """Read a scene's header.

        Raises:
            ReadError: corrupt or not readable.
            UnsupportedSceneError: readable, but not supported.
        """
        ...

    def open(self, ref: SceneRef) -> AbstractContextManager[SceneSource]:
        """Open a scene for reading; closed on leaving the context."""
        ...

    def read_support(self, request: SupportRequest) -> list[LabeledImage]:
        """Read a labelled example; a labelled volume gives one image per labelled slice.

        Raises:
            SupportError: unreadable, sizes differ, no pixel of the class, or everything is ignored.
        """
        ...


@runtime_checkable
class VectorLabelReader(Protocol):
    """What a reader may do beyond `Reader`: take examples whose labels are drawn as polygons, lines and points.

    Its `read_support` takes requests with `SupportRequest.vector`. It gives one image for each window of the image in
    which something is drawn, and may give images that show nothing of the class, but only background. For an image that
    is `VectorLabels.optional` and shows nothing, it gives an empty list.
    """

    def check_vector(self, request: SupportRequest) -> None:
        """Check the vector file of a request without opening the image.

        Raises:
            SupportError: unreadable, no such layer or attribute, nothing is selected, or its CRS is unknown.
        """
        ...

    def vector_identity(self, request: SupportRequest) -> str:
        """What changes whenever the labels of a request may have changed: of what `read_support` would make of the
        vector file; empty if it would make nothing of it. Opens the image, but reads no pixel.

        Raises:
            SupportError: as `read_support`.
        """
        ...


@dataclass(frozen=True)
class ClassInfo:
    """One class of the mask.

    Attributes:
        value: mask value, 1..254.
        name: the user's name for it.
        color: (red, green, blue), 0..255 each.
        codes: coded terms by role (`category`, `type`, `anatomy`), each "scheme:value:meaning", for DICOM.
    """

    value: int
    name: str
    color: tuple[int, int, int] = (220, 30, 60)
    codes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Provenance:
    """What made a product; written into it as tags.

    Attributes:
        version: of hdm_pipeline.
        pipeline_hash: of the configuration that affects pixels.
        weights_hash: of the (adapted) weights.
        support_hash: of the support banks.
        threshold: least score (0..1) that counts as the class.
        model: architecture and name of the weights.
    """

    version: str
    pipeline_hash: str
    weights_hash: str
    support_hash: str
    threshold: float
    model: str


@runtime_checkable
class PixelSource(Protocol):
    """Pixels that a writer pulls window by window, so that it never needs a whole scene in memory."""

    shape: tuple[int, int, int, int]

    def read(self, window: Window) -> npt.NDArray[np.uint8]:
        """[bands, height, width] uint8 of a window that lies within the scene."""
        ...


@dataclass(frozen=True)
class PublishedFile:
    """A file that was published for a scene.

    Attributes:
        product: name of the product that it belongs to.
        path: where it lies, absolute.
    """

    product: str
    path: Path


@dataclass(frozen=True)
class ScenePublication:
    """What a `CatalogWriter` gets of a scene, once all other products lie in their place.

    Attributes:
        pipeline: name of the pipeline.
        folder: where the scene's products lie, absolute.
        files: the other products, in the order of the pipeline file.
        measures: what `run.json` says of the mask: ``valid`` (share, 0..1), ``pixels`` and ``area_m2`` by class.
    """

    pipeline: str
    folder: Path
    files: tuple[PublishedFile, ...]
    measures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Product:
    """Everything a writer needs for one scene.

    Attributes:
        scene: header of the source scene.
        classes: the classes of the mask, by ascending value.
        mask: shape (1, z, y, x): 0 background, 1..C classes, 255 nodata.
        score: shape (classes, z, y, x): 0..255 = probability 0..1.
        block: (height, width) in which reading `mask` and `score` is cheapest.
        provenance: what made it.
        published: the scene's other products; None but for a `CatalogWriter`.
        uncertainty: shape (classes, z, y, x): 0..255 = uncertainty 0..1; None unless a product of the run needs it.
    """

    scene: SceneHeader
    classes: tuple[ClassInfo, ...]
    mask: PixelSource
    score: PixelSource
    block: tuple[int, int]
    provenance: Provenance
    published: ScenePublication | None = None
    uncertainty: PixelSource | None = None


@runtime_checkable
class Writer(Protocol):
    """Writes one kind of product. Constructed with the YAML's options for it (ConfigError if unknown).

    A class may also say `needs_uncertainty = True`: a run then computes `Product.uncertainty`, which costs time.
    """

    name: ClassVar[str]

    def __init__(self, options: Mapping[str, Any] | None = None) -> None: ...

    def check(self, classes: Sequence[ClassInfo]) -> list[str]:
        """Check before the run whether these classes can be written; returns warnings.

        Raises:
            ConfigError: they cannot.
        """
        ...

    def filename(self, scene: SceneHeader) -> str:
        """Name of the file that `write` makes for a scene, e.g. ``mask.tif``; no directories."""
        ...

    def write(self, product: Product, path: Path) -> None:
        """Write the product to `path` (in an existing folder), byte for byte the same for the same input.

        Raises:
            WriteError: it cannot be written.
        """
        ...


@runtime_checkable
class SidecarWriter(Writer, Protocol):
    """A writer whose product has small files beside it, where other programs look for them: class names, a style.

    They are published and set aside with the product; those of an earlier product are removed before it is replaced.
    """

    def sidecars(self, filename: str) -> tuple[str, ...]:
        """Names of the files that may stand beside a product called `filename`; no directories.

        `write` may make any of them, next to its `path`. Those that it does not make are removed all the same: another
        program may have left statistics of the earlier pixels there.
        """
        ...


@dataclass(frozen=True)
class CatalogEntry:
    """A scene whose products lie in the output directory.

    Attributes:
        scene: its id.
        files: everything that was published for it, absolute.
        version: another one whenever the scene was published anew.
    """

    scene: str
    files: tuple[Path, ...]
    version: str


@dataclass(frozen=True)
class RunCatalog:
    """The whole output directory, for a `CatalogWriter`.

    Attributes:
        name: of the pipeline.
        root: the output directory, absolute.
        memory: an existing folder in which the writer may keep what it wants to remember.
        entries: every scene of the archive that is done, by id.
        files: names of what else lies in `root` and belongs to all scenes: mosaics.
    """

    name: str
    root: Path
    memory: Path
    entries: tuple[CatalogEntry, ...]
    files: tuple[str, ...] = ()


@runtime_checkable
class CatalogWriter(Writer, Protocol):
    """A writer that describes the other products of a scene, and at the end the whole run.

    `write` is called after all other writers, with `Product.published`.
    """

    def finish(self, run: RunCatalog) -> Sequence[str]:
        """Write what describes the whole output directory; called at the end of each run, also of one without work.

        Most scenes are as they were: what is known of them should be remembered, not read again.

        Returns:
            Names of the files made in `run.root`, each put in place by renaming.

        Raises:
            OutputError: they cannot be written.
        """
        ...


@runtime_checkable
class ArchiveWriter(Writer, Protocol):
    """A writer whose products of all scenes can be put together, and compared with those of another run."""

    def mosaic(self, run: RunCatalog, *, whole: bool) -> Mapping[str, Any]:
        """Put the products of all scenes together; called at the end of each run, also of one without work.

        Args:
            run: the output directory.
            whole: make copies of all pixels too (`run --mosaic`), not only files that refer to the products.

        Returns:
            What `run.json` says of it: ``files``, the names of those made in `run.root`, each put in place by renaming,
            and ``left_out``, why scenes are in none of them, by scene.

        Raises:
            OutputError: they cannot be written.
        """
        ...

    def compare(self, before: RunCatalog, after: RunCatalog, folder: Path | None) -> Mapping[str, Any]:
        """Compare the products of two runs where their scenes lie on each other.

        Args:
            before: the earlier run.
            after: the later run; `memory` of neither is used.
            folder: an existing folder for rasters of what changed; None to write nothing.

        Returns:
            JSON-able: ``classes``: by class and kind (``stable``, ``gained``, ``lost``) ``pixels`` and ``area_m2``
            (None where unknown); ``scenes``: the same for each scene of `before`; ``unmatched``: scenes without a
            counterpart, by run; ``notices``: what a person should know.

        Raises:
            ConfigError: nothing lies on each other.
            ReadError: a product cannot be read.
        """
        ...
