"""Who gets which products: `output.send` held against the senders and writers that are installed. No network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hdm_pipeline.config.schema import PipelineConfig
from hdm_pipeline.config.send import Send
from hdm_pipeline.contracts import Sender
from hdm_pipeline.errors import ConfigError
from hdm_pipeline.plugin.registry import make_sender, make_writer


@dataclass(frozen=True)
class Route:
    """One peer.

    Attributes:
        to: its address, without secrets.
        sender: of the address.
        products: that it is to get, sorted.
        named: products that the user named: of these, a file that cannot be sent is told.
    """

    to: str
    sender: Sender
    products: tuple[str, ...]
    named: frozenset[str] = frozenset()


def make_route(config: PipelineConfig, peer: Send) -> tuple[Route, list[str]]:
    """The route to a peer of `output.send`, checked; and what the sender warns of.

    Raises:
        ConfigError: address, options, credentials or products are wrong.
        PluginError: the sender cannot be used.
    """
    sender = make_sender(peer.to, peer.options)
    products = config.output.product_options()
    kinds = {name: make_writer(name, options).media_type for name, options in products.items()}
    unknown = getattr(sender, "takes_unknown", True)
    takes = {name for name, kind in kinds.items() if (unknown if kind is None else kind in sender.takes)}
    if unfit := sorted(set(peer.products or ()) - takes):
        kind = kinds[unfit[0]] or "of a kind that it does not say"
        raise ConfigError(
            f"the product {unfit[0]!r} ({kind}) cannot be sent to {peer.to}",
            where="output.send",
            remedy=f"it takes {', '.join(sender.takes)}; of these products: {', '.join(sorted(takes)) or '(none)'}",
        )
    if not takes:
        raise ConfigError(
            f"none of the products can be sent to {peer.to}",
            where="output.send",
            remedy=f"it takes {', '.join(sender.takes)}: add such a product to output.products",
        )
    warnings = [f"{peer.to}: {warning}" for warning in sender.check()]
    named = frozenset(peer.products or ())
    return Route(peer.to, sender, tuple(sorted(named or takes)), named), warnings


def routes(config: PipelineConfig) -> Sequence[Route]:
    """The routes to all peers of a pipeline; see `make_route`."""
    return [make_route(config, peer)[0] for peer in config.output.send]
