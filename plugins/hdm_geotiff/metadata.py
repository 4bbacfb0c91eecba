"""What the metadata of a product say of its stored values."""

from __future__ import annotations

from hdm_geotiff.layers import LayeredScene
from hdm_geotiff.values import Law


def product_laws(scene: LayeredScene, *, allow_network: bool) -> dict[str, Law]:
    """How the bands of a product are read, by `Layer.code`; empty where nothing but the files says so."""
    return {}
