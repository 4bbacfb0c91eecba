"""In which order the products of a scene are written: some refer to others, and some describe all of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from hdm_pipeline.config.schema import PipelineConfig
from hdm_pipeline.errors import ConfigError
from hdm_pipeline.plugin.guarded_writer import GuardedWriter
from hdm_pipeline.plugin.registry import make_writer


def product_writers(config: PipelineConfig) -> list[tuple[str, GuardedWriter]]:
    """The writers of a pipeline's products by name, as they are to be called; see `in_order`.

    Raises:
        ConfigError: as `in_order`; or a product is unknown, its options are wrong, or do not fit those of others.
        PluginLoadError: a plug-in cannot be loaded.
    """
    products = config.output.product_options()
    writers = {name: make_writer(name, options) for name, options in products.items()}
    found = in_order(writers)
    for writer in writers.values():
        writer.check_beside(products)
    return found


def in_order(writers: Mapping[str, GuardedWriter]) -> list[tuple[str, GuardedWriter]]:
    """Writers in the order of the pipeline file, but for those that come after others; those that describe all last.

    Args:
        writers: by product, in the order of the pipeline file.

    Raises:
        ConfigError: a product refers to one that is not there, or two refer to each other.
    """
    found: dict[str, GuardedWriter] = {}

    def add(name: str, waiting: tuple[str, ...]) -> None:
        if name in waiting:
            raise ConfigError(
                f"the products {' and '.join(waiting)} are each to be written after the other",
                where=f"product {name}",
                remedy="leave one of them out; their plug-ins do not fit each other",
            )
        if name in found:
            return
        require_products_before(name, writers[name], writers)
        for before in writers[name].after:
            add(before, (*waiting, name))
        found[name] = writers[name]

    for name in writers:
        add(name, ())
    return sorted(found.items(), key=lambda one: one[1].describes)


def require_products_before(name: str, writer: GuardedWriter, products: Collection[str]) -> None:
    """Refuse a product that refers to one that the pipeline does not make.

    Raises:
        ConfigError: it does.
    """
    for before in writer.after:
        if before not in products:
            raise ConfigError(
                f"the product {name} refers to the product {before}, which is not made",
                where=f"product {name}",
                remedy=f"add {before} to output.products",
            )
