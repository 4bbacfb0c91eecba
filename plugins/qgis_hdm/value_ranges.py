"""Which values of a raster become 0 and 1."""

from __future__ import annotations

from collections.abc import Sequence

from qgis.core import Qgis, QgsRasterLayer

_SHARE = 0.01
"""Share of the pixels beyond either end."""

_SAMPLE = 250_000


def ranges_of(
    layer: QgsRasterLayer, bands: Sequence[int], given: Sequence[float] | None
) -> tuple[tuple[float, float], ...]:
    """(low, high) for each band: as given, 0 to 255 for bytes, else 1 and 99 per cent of the pixels.

    Args:
        layer: the raster.
        bands: numbers from 1.
        given: low and high for all bands; None to look at the pixels.
    """
    provider = layer.dataProvider()
    found = []
    for band in bands:
        if given is not None:
            low, high = given
        elif provider.sourceDataType(band) == Qgis.Byte and provider.bandScale(band) == 1:
            low, high = 0.0, 255.0
        else:
            low, high = provider.cumulativeCut(band, _SHARE, 1 - _SHARE, layer.extent(), _SAMPLE)
        found.append((float(low), float(high) if high > low else float(low) + 1))
    return tuple(found)
