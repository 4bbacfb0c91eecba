"""Addresses of object stores and of the servers that hold them."""

from __future__ import annotations

import os
import re

from hdm_pipeline.errors import ObjectStoreError

SCHEMES = ("s3", "gs", "az", "file")
"""What addresses may begin with."""

_ADDRESS = re.compile(r"(?P<scheme>[a-z][a-z0-9]*)://(?P<rest>.*)", re.DOTALL)
_PART = re.compile(r"[A-Za-z0-9_.+=~-]+")
"""What a bucket or a folder may be called. Of other characters (`%2e%2e`, a backslash, a space) libraries and servers
disagree whether they are escaped, and one that is read in two ways leads to two places."""

_ENDPOINTS = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
}
_ENDPOINT = re.compile(r"https?://[^/\s@?#]+/?[^\s@?#]*")


def check_address(text: str) -> str:
    """What a user wrote, without a slash at its end, if it is an address that may be used.

    Raises:
        ObjectStoreError: it names no bucket, carries a password or a query, leads upwards, or holds characters that
            are not the same everywhere.
    """
    if any(mark in text for mark in "@?#"):  # first: nothing of what may be a key is shown
        raise ObjectStoreError(
            "the address holds more than a bucket and a folder",
            where=text.partition("://")[0] + "://...",
            remedy="put keys, region and endpoint into the environment (docs/cluster.md), not into the address",
        )
    bucket, prefix = split_address(text)
    if not bucket.startswith("file:") and not all(map(_PART.fullmatch, text.rstrip("/").split("/")[2:])):
        raise ObjectStoreError(
            "the address holds characters that not every store takes",
            where=repr(text),
            remedy="name bucket and folders by letters, digits, '.', '_', '-', '+', '=' and '~'",
        )
    return f"{bucket}/{prefix}".rstrip("/")


def split_address(text: str) -> tuple[str, str]:
    """(bucket, prefix) of an address: ``s3://bucket`` and ``a/b/`` or an empty text; of ``file:///`` all is the bucket.

    Raises:
        ObjectStoreError: it names no bucket, or leads upwards.
    """
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
    if whole:
        return found.string, ""
    return f"{found['scheme']}://{parts[0]}", "".join(f"{part}/" for part in parts[1:])


def check_endpoint(address: str) -> None:
    """Check the server that the environment names for a store.

    Raises:
        ObjectStoreError: it is no address of one.
    """
    for name in _ENDPOINTS.get(address.partition("://")[0], ()):
        given = os.environ.get(name)
        if given and not _ENDPOINT.fullmatch(given):
            shown = "" if "@" in given else f"={given}"  # what may be a key is not shown
            remedy = f"set {name} to https://HOST or http://HOST:PORT, or unset it"
            raise ObjectStoreError(f"{name} names no server", where=f"{name}{shown}, for {address}", remedy=remedy)
