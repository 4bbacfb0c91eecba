"""What plug-ins implement, and the frozen values that travel between rooms.

A reader plug-in turns files into pixels, a writer plug-in turns masks into products, a sender plug-in sends products
away, a receiver plug-in takes files in from a network. They are found by entry point (`hdm_pipeline.readers`,
`hdm_pipeline.writers`, `hdm_pipeline.senders`, `hdm_pipeline.receivers`; the writer's entry point name is the product's
name in the YAML, the sender's the scheme of its addresses) and know nothing but this package, `hdm_pipeline.grid` and
`hdm_pipeline.errors`.

Axes are always (band, z, y, x). A raster has z = 1; a volume's z runs along the slice normal.
"""

from __future__ import annotations

from hdm_pipeline.contracts.drafting import LabelChoice
from hdm_pipeline.contracts.labels import LabelPatch, SavedLabels, SceneLabels
from hdm_pipeline.contracts.product import (
    CatalogEntry,
    ClassInfo,
    PixelSource,
    Product,
    Provenance,
    PublishedFile,
    RunCatalog,
    ScenePublication,
)
from hdm_pipeline.contracts.reader import (
    DraftingReader,
    LabelKeeper,
    OverviewSource,
    Reader,
    RemoteReader,
    SceneSource,
    VectorLabelReader,
)
from hdm_pipeline.contracts.receiver import Arrival, Inbox, Receiver
from hdm_pipeline.contracts.scene import (
    Band,
    RasterGeometry,
    SceneHeader,
    SceneRef,
    SceneWarning,
    Skipped,
    VolumeGeometry,
)
from hdm_pipeline.contracts.sender import SendAnswer, Sender
from hdm_pipeline.contracts.support import ImageWindow, LabeledImage, Selection, SupportRequest, VectorLabels
from hdm_pipeline.contracts.values import (
    BACKGROUND,
    IGNORE,
    NODATA,
    OUTPUT_MARKER,
    STATISTICS_PIXELS,
    Labels,
    Pixels,
    Validity,
)
from hdm_pipeline.contracts.writer import (
    SCENE_KINDS,
    ArchiveWriter,
    CatalogWriter,
    NeighborCheckingWriter,
    SceneCheckingWriter,
    SceneKind,
    SidecarWriter,
    Writer,
)

__all__ = [
    "Pixels",
    "Validity",
    "Labels",
    "BACKGROUND",
    "NODATA",
    "IGNORE",
    "STATISTICS_PIXELS",
    "OUTPUT_MARKER",
    "Band",
    "RasterGeometry",
    "VolumeGeometry",
    "SceneRef",
    "SceneWarning",
    "SCENE_KINDS",
    "NeighborCheckingWriter",
    "SceneCheckingWriter",
    "SceneKind",
    "SceneHeader",
    "Skipped",
    "Selection",
    "ImageWindow",
    "VectorLabels",
    "SupportRequest",
    "LabeledImage",
    "SceneSource",
    "Reader",
    "VectorLabelReader",
    "RemoteReader",
    "OverviewSource",
    "LabelKeeper",
    "DraftingReader",
    "LabelChoice",
    "LabelPatch",
    "SceneLabels",
    "SavedLabels",
    "Arrival",
    "Inbox",
    "Receiver",
    "ClassInfo",
    "Provenance",
    "PixelSource",
    "PublishedFile",
    "ScenePublication",
    "Product",
    "CatalogEntry",
    "RunCatalog",
    "Writer",
    "SidecarWriter",
    "CatalogWriter",
    "ArchiveWriter",
    "Sender",
    "SendAnswer",
]
