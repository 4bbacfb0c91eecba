"""Whether a pipeline asks for the uncertainty of its scores, and whether it can have it. Loads no network."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from hdm_pipeline.config.schema import PipelineConfig
from hdm_pipeline.errors import ConfigError
from hdm_pipeline.model.weights_file import architecture
from hdm_pipeline.plugin.registry import archive_reader, make_writer, reads_volumes

if TYPE_CHECKING:
    from hdm_pipeline.model.network import FewShotNetwork

WITHOUT = ("hdmnet", "foundation")
"""Architectures that are known to tell no uncertainty; of one that is not known, its network is asked before a run."""


def asked(config: PipelineConfig) -> bool:
    """Whether a product needs the uncertainty of the scores.

    Raises:
        ConfigError: a product is unknown, its options are wrong, or it cannot be had (`require`).
        PluginLoadError: a plug-in cannot be loaded.
        WeightsError: the weights are not there.
    """
    products = _asking(config)
    for product in products:
        require(config, product)
    return bool(products)


def require_known(config: PipelineConfig, networks: Iterable[FewShotNetwork]) -> None:
    """Refuse networks of architectures that are not known here and that tell no uncertainty, where it is asked for.

    Raises:
        ConfigError: there is one.
    """
    for product in _asking(config):
        for network in networks:
            if not network.knows_uncertainty:
                raise _unknown(network.architecture, product)


def _asking(config: PipelineConfig) -> list[str]:
    """The products that need the uncertainty of the scores."""
    products = config.output.product_options().items()
    return [name for name, options in products if make_writer(name, options).needs_uncertainty]


def require(config: PipelineConfig, product: str) -> None:
    """Refuse a product that needs an uncertainty where there is none, before anything is read.

    Args:
        config: the pipeline.
        product: one of its products.

    Raises:
        ConfigError: the network tells no uncertainty, or the scenes are volumes and the product is one of rasters.
        WeightsError: the weights are not there.
    """
    writer = make_writer(product, config.output.product_options()[product])
    if not writer.needs_uncertainty:
        return
    if writer.scenes != "volumes" and reads_volumes(archive_reader(config)):
        raise ConfigError(
            f"the product {product} cannot carry the uncertainty of a volume",
            where=f"product {product}, reader {config.input.reader}",
            remedy="use a DICOM parametric map: `parametric_map: {of: uncertainty}`",
        )
    found = architecture(config.model.source)
    if found in WITHOUT:
        raise _unknown(found, product)


def _unknown(architecture: str, product: str) -> ConfigError:
    """The error for a network that tells no uncertainty."""
    return ConfigError(
        f"weights of {architecture!r} tell no uncertainty",
        where=f"product {product}",
        remedy="use weights of hdmnet-pyramid, such as builtin:pyramid, or the product score instead",
    )
