"""Who gets the products of scenes that are done: `output.send`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, field_validator

from hdm_pipeline.config.base import Model


class Send(Model):
    """Where products go once a scene is done."""

    to: str = Field(description="address of the peer, such as dicomweb://host/path or dimse://AET@host:port")
    products: list[str] | None = Field(None, min_length=1, description="of `output.products`; all that it takes")
    options: dict[str, Any] = Field(default_factory=dict, description="of the connection")

    @field_validator("to")
    @classmethod
    def _no_secret(cls, value: str) -> str:
        # The address stands in the ledger, in run.json and in the log.
        scheme, separator, rest = value.partition("://")
        if not separator or not scheme:
            raise ValueError("an address is SCHEME://...")
        if ":" in rest.partition("/")[0].rpartition("@")[0]:
            raise ValueError("no password in an address: name a variable or a file that holds it in `options`")
        if "?" in rest or "#" in rest:
            raise ValueError("an address to send to has no ? and no #")
        return value


def _one_or_several(value: object) -> object:
    return [value] if isinstance(value, dict) else value


Peers = Annotated[list[Send], BeforeValidator(_one_or_several, json_schema_input_type=Send | list[Send])]
"""One peer, or a list of them."""


def check_peers(peers: Sequence[Send], products: Collection[str]) -> None:
    """Raise `ValueError` where a peer is to get what is not made, or is named twice.

    Args:
        peers: of `output.send`.
        products: names of those that are made.
    """
    addresses = [one.to for one in peers]
    for one in peers:
        if unmade := [name for name in one.products or () if name not in products]:
            raise ValueError(f"send: the product {unmade[0]!r} is not among `products`: add it there")
        if addresses.count(one.to) > 1:
            raise ValueError(f"send: {one.to} is named twice: name it once")
