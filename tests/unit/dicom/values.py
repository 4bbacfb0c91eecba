"""Series whose values are looked at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from hdm_dicom.reader import DicomReader
from hdm_pipeline.contracts import SceneHeader, SceneRef, SceneWarning
from hdm_pipeline.grid import Window
from tests.dicom_series import Change, write_series

Floats = npt.NDArray[np.float32]
RAMP = np.arange(24 * 32, dtype=np.uint16).reshape(24, 32)


def opened(folder: Path, **options: Any) -> tuple[SceneHeader, Floats, npt.NDArray[np.bool_]]:
    """Header, pixels [z, y, x] and validity of the only volume of a folder."""
    reader = DicomReader(options)
    (ref,) = (found for found in reader.discover(str(folder)) if isinstance(found, SceneRef))
    with reader.open(ref) as source:
        _, depth, height, width = source.header.shape
        slices = [source.read(Window(z=z, y=0, x=0, height=height, width=width), [0]) for z in range(depth)]
    return source.header, np.stack([s[0][0] for s in slices]), np.stack([s[1] for s in slices])


def series(folder: Path, change: Change, pixels: Callable[[int], npt.NDArray[Any]] | None = None) -> Path:
    write_series(folder, change=change, pixels=pixels or (lambda index: RAMP + index))
    return folder


def kinds(header: SceneHeader) -> dict[str, SceneWarning]:
    return {warning.kind: warning for warning in header.warnings if isinstance(warning, SceneWarning)}


def facts(header: SceneHeader) -> str:
    return "; ".join(warning for warning in header.warnings if isinstance(warning, str))


def lut(first: int, entries: npt.NDArray[Any], depth: int = 16, *, words: bool = True) -> Dataset:
    item = Dataset()
    item.add_new(0x00283002, "US", [entries.size % 65536, first, depth])
    if words and entries.size < 32768:
        item.add_new(0x00283006, "US", [int(value) for value in entries])
    else:
        item.add_new(0x00283006, "OW", entries.astype("<u2").tobytes())
    item.ModalityLUTType = "HU"
    return item


def header_of(folder: Path, **options: Any) -> SceneHeader:
    """The header of the only volume, as a plan reads it: no pixel is decoded."""
    reader = DicomReader(options)
    (ref,) = (found for found in reader.discover(str(folder)) if isinstance(found, SceneRef))
    return reader.header(ref)
