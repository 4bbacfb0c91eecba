"""Listing remote scenes: the objects under an `s3://` prefix, or one `https://` file. GDAL reads the pixels.

boto3 (the extra `s3`) lists buckets; it and GDAL take keys, region and endpoint from the same environment variables and
files. Only the endpoint has two names: boto3 calls it `AWS_ENDPOINT_URL` and GDAL `AWS_S3_ENDPOINT`. Here either is
enough for both.
"""

from __future__ import annotations

import os
import re
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from hdm_geotiff.files import containers
from hdm_pipeline.errors import ArchiveError, PeerRefusedError, ReadError

_TIMEOUT_SECONDS = 60

_REFUSED = ("ExpiredToken", "ExpiredTokenException", "InvalidToken", "InvalidAccessKeyId", "SignatureDoesNotMatch")
"""What S3 says of keys as such; AccessDenied may be of one object."""

_NO_KEYS = "AWS_NO_SIGN_REQUEST configuration options not defined"
"""What GDAL says where it finds no keys anywhere, and was not told that none are needed."""

_SIDECAR = re.compile(r"\.|_rpc\.", re.IGNORECASE)
"""How what follows a raster's name without ending begins: `.tif.msk`, `.aux`, `_RPC.TXT`."""


@dataclass(frozen=True)
class RemoteObject:
    """One object: its URI, its key below the prefix, and what changes when its content does."""

    uri: str
    relative: str
    identity: str


def list_remote(uri: str) -> Iterator[RemoteObject]:
    """List what a remote URI names; a prefix is listed with everything below it.

    Raises:
        ArchiveError: the store does not answer, or boto3 is not installed.
    """
    if urlsplit(uri).scheme.lower() == "s3":
        yield from _bucket(uri)
    else:
        yield _web_file(uri)


def _bucket(uri: str) -> Iterator[RemoteObject]:
    try:
        import boto3
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError as error:
        remedy = "pip install 'hdm-pipeline[s3]'"
        raise ArchiveError("listing a bucket needs boto3", where=uri, remedy=remedy) from error
    parts = urlsplit(uri)
    prefix = parts.path.lstrip("/")
    folder = prefix if prefix.endswith("/") else prefix[: prefix.rfind("/") + 1]
    try:
        client = boto3.client("s3", endpoint_url=_endpoint())
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=parts.netloc, Prefix=prefix):
            for entry in page.get("Contents", []):
                yield _object(parts.netloc, entry, folder)
    except (BotoCoreError, ClientError) as error:
        remedy = "check the bucket's name, your keys (AWS_PROFILE or AWS_ACCESS_KEY_ID) and the endpoint"
        raise ArchiveError(f"the bucket cannot be listed: {error}", where=uri, remedy=remedy) from error


def _object(bucket: str, entry: dict[str, Any], folder: str) -> RemoteObject:
    key = str(entry["Key"])
    tag = str(entry["ETag"]).strip('"')
    return RemoteObject(f"s3://{bucket}/{key}", key.removeprefix(folder), f"{entry['Size']}-{tag}")


def _endpoint() -> str | None:
    """GDAL's endpoint as a URL, where it is set and boto3's own is not."""
    host = os.environ.get("AWS_S3_ENDPOINT")
    if not host or os.environ.get("AWS_ENDPOINT_URL"):
        return None
    insecure = os.environ.get("AWS_HTTPS", "YES").upper() in ("NO", "FALSE", "OFF", "0")
    return host if "://" in host else f"{'http' if insecure else 'https'}://{host}"


def endpoint_of_gdal() -> dict[str, object]:
    """GDAL's settings for the endpoint that boto3 knows, where GDAL's own variables do not say otherwise.

    A bucket then stands in the path, as servers beside AWS expect it and the client of the output writes it.
    """
    url = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if not url or "AWS_S3_ENDPOINT" in os.environ:
        return {}
    scheme, _, host = url.rpartition("://")
    settings: dict[str, object] = {
        "AWS_S3_ENDPOINT": host.rstrip("/"),
        "AWS_HTTPS": "NO" if scheme.lower() == "http" else "YES",
        "AWS_VIRTUAL_HOSTING": "FALSE",
    }
    return {name: value for name, value in settings.items() if name not in os.environ}


@lru_cache(maxsize=4096)
def has_sidecars(uri: str) -> bool:
    """Whether GDAL may find more beside a raster in a bucket: objects of its name with another or a further ending.

    One request, once a process and raster. True where that cannot be told: GDAL then asks for each name itself.
    """
    try:
        import boto3
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError:
        return True
    parts = urlsplit(uri)
    key = parts.path.lstrip("/")
    stem = key.removesuffix(PurePosixPath(key).suffix)
    try:
        page = boto3.client("s3", endpoint_url=_endpoint()).list_objects_v2(Bucket=parts.netloc, Prefix=stem)
    except (BotoCoreError, ClientError):
        return True
    others = {str(entry["Key"]) for entry in page.get("Contents", [])} - {key}
    return bool(page.get("IsTruncated")) or any(_SIDECAR.match(other.removeprefix(stem)) for other in others)


def check_keys(uri: str, said: str) -> None:
    """Ask a bucket for one byte of an object that could not be read.

    Args:
        uri: of the object.
        said: what GDAL said.

    Raises:
        PeerRefusedError: this machine has no keys, or the bucket takes them no more, for no object: no scene is at
            fault.
    """
    if _NO_KEYS in said:
        what = "this machine has no keys for the bucket"
        remedy = (
            "set them in the environment of every node (docs/cluster.md), or AWS_NO_SIGN_REQUEST=YES if it is public"
        )
        raise PeerRefusedError(what, where=uri, remedy=remedy)
    try:
        import boto3
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError:
        return
    parts = urlsplit(uri)
    try:
        client = boto3.client("s3", endpoint_url=_endpoint())
        client.get_object(Bucket=parts.netloc, Key=parts.path.lstrip("/"), Range="bytes=0-0")["Body"].read()
    except ClientError as error:
        if str(error.response.get("Error", {}).get("Code")) in _REFUSED:
            said = error.response["Error"].get("Message", "")
            remedy = "renew the keys in the environment; then run again: it goes on where it stopped"
            raise PeerRefusedError(f"the bucket takes the keys no more: {said}", where=uri, remedy=remedy) from error
    except BotoCoreError:
        return


def _web_file(uri: str) -> RemoteObject:
    request = urllib.request.Request(uri, method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as answer:
            headers = answer.headers
    except (OSError, ValueError) as error:
        remedy = "check the address; folders of web servers cannot be listed, name each file in a list"
        raise ArchiveError(f"the server does not give the file: {error}", where=uri, remedy=remedy) from error
    stamp = headers.get("ETag", headers.get("Last-Modified", ""))
    name = urlsplit(uri).path.rsplit("/", 1)[-1]
    return RemoteObject(uri, name, f"{headers.get('Content-Length', '')}-{stamp}")


def read_remote(uri: str) -> str:
    """A small text file of a bucket or a web server.

    Raises:
        ReadError: it cannot be read, or is too large to be one.
    """
    try:
        data = _content(uri)
    except ImportError as error:
        what = "reading metadata from a bucket needs boto3"
        raise ReadError(what, where=uri, remedy="pip install 'hdm-pipeline[s3]'") from error
    except Exception as error:  # botocore's errors have no root that is there without boto3
        remedy = "check the address and your keys, or copy the product here"
        raise ReadError(f"the metadata cannot be read: {error}", where=uri, remedy=remedy) from error
    return containers.metadata_text(data, uri)


def _content(uri: str) -> bytes:
    """What lies there, up to a byte more than is accepted."""
    parts = urlsplit(uri)
    if parts.scheme.lower() == "s3":
        import boto3

        client = boto3.client("s3", endpoint_url=_endpoint())
        answer = client.get_object(Bucket=parts.netloc, Key=parts.path.lstrip("/"))
        return bytes(answer["Body"].read(containers.MOST_TEXT + 1))
    with urllib.request.urlopen(uri, timeout=_TIMEOUT_SECONDS) as response:
        return bytes(response.read(containers.MOST_TEXT + 1))
