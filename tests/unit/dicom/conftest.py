"""Nothing that was opened in one test is remembered in the next."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def forget_volumes() -> Iterator[None]:
    from hdm_dicom.volumes import volume_io

    yield
    volume_io.open_volume.cache_clear()
    volume_io._turned.cache_clear()
