"""Whether a pipeline's products can be made of the scenes that its reader gives. Loads no network."""

from __future__ import annotations

from hdm_pipeline.config.schema import PipelineConfig
from hdm_pipeline.contracts import SceneKind
from hdm_pipeline.errors import ConfigError, MissingExtraError, PluginLoadError
from hdm_pipeline.plugin.registry import WRITERS, archive_reader, available, load, make_writer, reads_volumes


def check(config: PipelineConfig) -> None:
    """Refuse products that the reader's scenes cannot have, before anything is read.

    Raises:
        ConfigError: see `require`; or a product is unknown, or its options are wrong.
        PluginLoadError: a plug-in cannot be loaded.
    """
    for product in config.output.product_options():
        require(config, product)


def require(config: PipelineConfig, product: str) -> None:
    """Refuse one product if the reader's scenes cannot have it.

    Raises:
        ConfigError: the product is for rasters and the reader gives volumes, or the other way round; the remedy names
            the products that fit.
    """
    volumes = reads_volumes(archive_reader(config))
    kind = make_writer(product, config.output.product_options()[product]).scenes
    wanted: SceneKind = "volumes" if volumes else "rasters"
    if volumes is None or kind in ("any", wanted):
        return
    raise ConfigError(
        f"the product {product!r} can be made of {kind}, and the reader {config.input.reader!r} gives {wanted}",
        where=f"product {product}, reader {config.input.reader}",
        remedy=f"use one of: {', '.join(fitting(wanted)) or '(none installed)'}",
    )


def fitting(kind: SceneKind) -> list[str]:
    """Names of the products that say they can be made of scenes of a kind, or of any."""
    found = []
    for name in available(WRITERS):
        try:
            told = getattr(load(WRITERS, name), "scenes", "any")
        except (PluginLoadError, MissingExtraError):
            continue  # nobody asked for it
        if told in ("any", kind):
            found.append(name)
    return found
