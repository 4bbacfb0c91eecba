"""Options that every product of a DICOM series has: number and description of the new series, and de-identification."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hdm_dicom.options import check_names
from hdm_pipeline.errors import ConfigError

SERIES_OPTIONS = ("series_number", "series_description", "deidentify")


def new_series(options: Mapping[str, Any], where: str, number: int, description: str) -> tuple[int, str]:
    """``series_number`` and ``series_description`` of the new series.

    Args:
        options: of the product.
        where: for messages, e.g. ``output.products, segmentation``.
        number: where none is given.
        description: where none is given.

    Raises:
        ConfigError: they cannot be written.
    """
    usual = number
    number, description = options.get("series_number", number), options.get("series_description", description)
    if type(number) is not int or not 1 <= number < 1 << 31:
        raise ConfigError("series_number must be a positive integer", where=where, remedy=f"leave it out for {usual}")
    if not isinstance(description, str) or not 1 <= len(description) <= 64 or "\\" in description:
        what = "series_description must have 1 to 64 characters, no backslash"
        raise ConfigError(what, where=where, remedy="shorten it, or leave it out")
    return number, description


def deidentify_key(options: Mapping[str, Any], where: str) -> bytes | None:
    """The key of ``deidentify: {key_file: PATH}``; None leaves the patient in.

    Raises:
        ConfigError: malformed, or the key cannot be read.
    """
    option = options.get("deidentify")
    if option is None or option is False:
        return None
    where = f"{where}, deidentify"
    if not isinstance(option, Mapping) or not isinstance(option.get("key_file"), str):
        raise ConfigError(
            "deidentify needs the file of its key", where=where, remedy="write `deidentify: {key_file: PATH}`"
        )
    check_names(option, ["key_file"], where)
    from hdm_dicom.privacy.deidentify import read_key

    return read_key(option["key_file"], where)


def check_keys(product: str, products: Mapping[str, Mapping[str, Any]], refers_to: str = "") -> list[str]:
    """Hold ``deidentify`` of a product against that of the others; returns warnings.

    Args:
        product: by name.
        products: the options of all products by name, in the order of the pipeline file.
        refers_to: a product that it refers to, and which must be de-identified alike.

    Raises:
        ConfigError: it is not.
    """
    keys = {name: _known_key(options) for name, options in products.items()}
    own, first = keys[product], next((name for name, key in keys.items() if key), None)
    if refers_to in keys and keys[refers_to] != own:
        raise ConfigError(
            f"the products {product} and {refers_to}, to which it refers, are not de-identified alike",
            where=f"output.products, {product}, deidentify",
            remedy="give both the same `deidentify: {key_file: PATH}`, or none",
        )
    if first is None or keys[first] == own:
        return []
    if own is None:
        return [f"the product {product} names the patient, and {first} does not: only the latter has `deidentify`"]
    return [f"the products {product} and {first} are de-identified by different keys: they do not belong together"]


def _known_key(options: Mapping[str, Any]) -> bytes | None:
    """The key of a product; None where it has none, or a wrong one, which its own writer tells."""
    try:
        return deidentify_key(options, "")
    except ConfigError:
        return None
