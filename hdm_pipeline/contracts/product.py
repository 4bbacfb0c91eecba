"""What a writer gets: the mask and scores of a scene, and what is known of the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from hdm_pipeline.contracts.scene import SceneHeader
from hdm_pipeline.grid import Window


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
    """A file of a scene's products.

    Attributes:
        product: name of the product that it belongs to.
        path: where it lies now, absolute.
    """

    product: str
    path: Path


@dataclass(frozen=True)
class ScenePublication:
    """What a `CatalogWriter`, or a writer that comes `after` others, gets of a scene: the products before it.

    Attributes:
        pipeline: name of the pipeline.
        folder: where the scene's products lie, absolute.
        files: the products that are written: all others for a `CatalogWriter`, which lie in their place, and at least
            those that the writer comes `after` for another. These may still be elsewhere: a scene is published whole.
        measures: what `run.json` says of the mask: ``valid`` (share, 0..1), ``pixels`` and ``area_m2`` by class.
        copied: the products are copied to a bucket from here: relative links lead to products, and to nothing else.
    """

    pipeline: str
    folder: Path
    files: tuple[PublishedFile, ...]
    measures: Mapping[str, Any] = field(default_factory=dict)
    copied: bool = False


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
        published: the scene's other products; None but for a `CatalogWriter` and a writer that comes `after` others.
        uncertainty: shape (classes, z, y, x): 0..255 = uncertainty 0..1; None unless a product of the run needs it.
        ranges: (low, high) of each band of the pipeline that the network saw as 0 and 1; empty if unknown.
        picture: [y, x, 3] uint8, at most 512 pixels a side: the scene as the network saw it, with the classes drawn
            over it; None unless the writer says `needs_picture`.
    """

    scene: SceneHeader
    classes: tuple[ClassInfo, ...]
    mask: PixelSource
    score: PixelSource
    block: tuple[int, int]
    provenance: Provenance
    published: ScenePublication | None = None
    uncertainty: PixelSource | None = None
    ranges: tuple[tuple[float, float], ...] = ()
    picture: npt.NDArray[np.uint8] | None = None


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
