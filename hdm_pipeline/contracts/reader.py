"""What a reader plug-in implements."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from hdm_pipeline.contracts.drafting import LabelChoice
from hdm_pipeline.contracts.labels import SavedLabels, SceneLabels
from hdm_pipeline.contracts.scene import SceneHeader, SceneRef, Skipped
from hdm_pipeline.contracts.support import LabeledImage, SupportRequest
from hdm_pipeline.grid import Window


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
class OverviewSource(SceneSource, Protocol):
    """A scene that can also be read at a reduced size without decoding all of it: by overviews, or whole slices."""

    def read_reduced(
        self, window: Window, bands: Sequence[int], size: tuple[int, int]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """A window as a smaller image: what `read` gives, averaged or thinned out.

        Args:
            window: part of one slice that lies within the scene.
            bands: zero-based band indices.
            size: (rows, columns) of the result, each at least 1 and at most those of the window.

        Returns:
            Pixels [len(bands), *size] float32 and validity [*size], in the units of `read`; a pixel that is valid
            holds values of valid pixels only.

        Raises:
            ReadError: the file cannot be decoded there.
        """
        ...


@runtime_checkable
class Reader(Protocol):
    """Finds and opens scenes of one kind. Constructed with the YAML's reader options (ConfigError if unknown).

    A class with an attribute `takes_bands` that is true gets one more option, `asked`: the entries of `input.bands` as
    a list of text. It may leave other bands unopened, or out of the header. A reader may have a method
    `example_files(request: SupportRequest) -> list[str]`: files on disk, beside image and mask and what is called like
    them, that an example is read from; the supports are then hashed with them.
    A class may also say `volumes`: True if its scenes are volumes (`VolumeGeometry`), False if they are rasters.
    Products that need the other kind are then refused before a run. `not_pixels` names options that do not change what
    is read (a timeout, say): they are no part of the scenes' keys. A method `check_input(uri: str) -> None` raises
    `ConfigError` or `ArchiveError` where `discover` could never take an input; `validate` calls it, and it opens
    nothing of the archive. `libraries` names modules without which the plug-in is of no use and that it imports only
    when it works: a missing one is told before a run.
    """

    name: ClassVar[str]

    def __init__(self, options: Mapping[str, Any] | None = None) -> None: ...

    def discover(self, uri: str) -> Iterator[SceneRef | Skipped]:
        """Find the scenes behind a path, glob, list file or bucket prefix, sorted by id, without reading pixels.

        Raises:
            EmptyArchiveError: nothing is there. `QuietArchiveError` where another machine has nothing now, and may
                have something tomorrow: what was found before it is kept.
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
            SupportError: unreadable, sizes differ, everything is ignored, or no pixel of the class; where the request
                names `background`, an example may show that only.
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


@runtime_checkable
class RemoteReader(Protocol):
    """What a reader may do beyond `Reader`: fetch scenes and examples that lie on another machine, a PACS say.

    Its `discover` gives references with `SceneRef.remote`. Several threads may fetch at once.
    """

    def fetch(self, ref: SceneRef, folder: Path, stopped: Callable[[], bool]) -> list[SceneRef | Skipped]:
        """Bring the files of a remote scene to this machine.

        Called again with the same folder after a failure or a crash: what is complete there is not fetched again. A
        file that is not complete never has its final name.

        Args:
            ref: of the scene, as `discover` gave it.
            folder: where its files go; made by the caller, and removed when the scene is finished.
            stopped: asked again and again; once it says True, fetching ends soon, with a `FetchError`.

        Returns:
            What `open` takes: usually one local reference with the id of `ref`. A listing may not tell that an entry
            holds several scenes, or none: then these, with ids of their own, and what is left out, with its reason.

        Raises:
            FetchError: they do not come, or not all, or are not what was listed. Tried again, then quarantined.
            PeerRefusedError: the other machine no longer lets us in.
        """
        ...

    def is_remote(self, uri: str) -> bool:
        """Whether an image or mask of a labelled example is fetched, too."""
        ...

    def fetch_example(self, uri: str, folder: Path) -> str:
        """Bring the image or mask of an example here; `folder` as for `fetch`, but kept from run to run.

        Returns:
            A path for `SupportRequest`: of equal objects, the files' content and times are equal, too.

        Raises:
            SupportError: there is no such object, or more than one.
            PeerError: the other machine cannot be reached, or refuses.
        """
        ...


@runtime_checkable
class LabelKeeper(Protocol):
    """What a reader may do beyond `Reader`: keep labels that a person draws on its scenes, as files of that person.

    The files are of a kind that other programs open, and that `read_support` takes.
    """

    def save_labels(self, labels: SceneLabels, folder: Path) -> SavedLabels:
        """Write the labels of a scene, in place of those that were written for it there before.

        Each file appears by renaming: after a crash, or on a full disk, the earlier one is whole. Nothing drawn means
        no file: earlier ones are removed.

        Args:
            labels: what is drawn.
            folder: an existing folder; file names start with the scene's id.

        Raises:
            OutputError: they cannot be written.
        """
        ...

    def load_labels(self, ref: SceneRef, classes: Mapping[int, str], folder: Path) -> SceneLabels | None:
        """Labels that `save_labels` wrote, pixel by pixel as they were; None without any.

        Args:
            ref: the scene.
            classes: names by value, as they are now; a class that is no longer named is unknown.
            folder: where they were written.

        Raises:
            SupportError: the files were changed by another program and no longer fit the scene.
        """
        ...


@runtime_checkable
class DraftingReader(Protocol):
    """What a reader may do beyond `Reader`: help to draft a pipeline file (`python -m hdm_pipeline init`)."""

    def label_choices(self, path: str) -> list[LabelChoice]:
        """What a file of labels holds that may be a class; background is among it.

        Args:
            path: a file of a kind that `read_support` takes as labels.

        Raises:
            SupportError: it is none.
        """
        ...

    def told_of(self, ref: SceneRef) -> str:
        """What a scene is called beyond its id, for the person at the terminal; empty without anything.

        It may hold a patient's name: it is shown, and never written.
        """
        ...
