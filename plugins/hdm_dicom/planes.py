"""A volume in its three planes at once, as one scene: what the consensus of planes is inferred from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hdm_dicom.options import ReaderOptions
from hdm_dicom.source import DicomSource
from hdm_dicom.stack import planes_of
from hdm_dicom.volume_io import open_volume
from hdm_pipeline.contracts import SceneRef
from hdm_pipeline.grid import PlaneStack, Window


class PlanesSource:
    """An open volume as a `grid.PlaneStack` (`hdm_pipeline.contracts.SceneSource`). One thread at a time."""

    def __init__(self, ref: SceneRef, options: ReaderOptions) -> None:
        views = planes_of(open_volume(ref, options).view)
        self._planes = tuple(DicomSource(ref, options, view) for view in views)
        self.header = self._planes[0].header
        width, height, depth = self._planes[0].size
        self._stack = PlaneStack((depth, height, width))

    def read(self, window: Window, bands: Sequence[int]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Pixels [len(bands), height, width] in the units of the series, 0 where invalid, and validity."""
        pixels = np.zeros((len(bands), window.height, window.width), dtype=np.float32)
        valid = np.zeros((window.height, window.width), dtype=np.bool_)
        inside = window.intersect(Window.whole(window.z, self._stack.extent(window.z)))
        if inside is not None:
            plane, index = self._stack.place(window.z)
            part = Window(z=index, y=inside.y, x=inside.x, height=inside.height, width=inside.width)
            rows, columns = inside.rows_columns(window)
            pixels[:, rows, columns], valid[rows, columns] = self._planes[plane].read(part, bands)
        return pixels, valid

    def sample(self, bands: Sequence[int], max_pixels: int) -> npt.NDArray[np.float32]:
        """Valid pixels of the axial slices, which hold every voxel: [len(bands), n]."""
        return self._planes[0].sample(bands, max_pixels)

    def row_areas(self) -> npt.NDArray[np.float64] | None:
        """Area in m² of a pixel of the axial slices: [y]; None where the pixel spacing is unknown."""
        return self._planes[0].row_areas()
