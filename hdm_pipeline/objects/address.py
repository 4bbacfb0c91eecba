"""Addresses of object stores."""

from __future__ import annotations

import re

from hdm_pipeline.errors import ObjectStoreError

SCHEMES = ("s3", "gs", "az", "file")
"""What addresses may begin with."""

_ADDRESS = re.compile(r"(?P<scheme>[a-z][a-z0-9]*)://(?P<rest>.*)", re.DOTALL)


def check_address(text: str) -> str:
    """`text` without a slash at its end, if it is an address that may be used.

    Raises:
        ObjectStoreError: it names no bucket, carries a password or a query, or leads upwards.
    """
    if any(mark in text for mark in "@?#"):  # first: nothing of what may be a key is shown
        raise ObjectStoreError(
            "the address holds more than a bucket and a folder",
            where=text.partition("://")[0] + "://...",
            remedy="put keys, region and endpoint into the environment (docs/cluster.md), not into the address",
        )
    found = _ADDRESS.fullmatch(text.rstrip("/"))
    if found is None or found["scheme"] not in SCHEMES:
        known = ", ".join(f"{scheme}://" for scheme in SCHEMES)
        raise ObjectStoreError("no address of an object store", where=text, remedy=f"begin it with one of {known}")
    parts = found["rest"].split("/")
    whole = found["scheme"] == "file"
    if whole != (parts[0] == "") or any(part in ("", ".", "..") for part in (parts[1:] if whole else parts)):
        raise ObjectStoreError(
            "the address names no bucket and folder",
            where=text,
            remedy="write s3://bucket/folder or file:///folder, without empty parts and '..'",
        )
    return found.string
