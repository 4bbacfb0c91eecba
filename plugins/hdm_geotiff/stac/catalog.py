"""Reading STAC: the items behind a file, a catalog, a pattern, or the search of an API.

Nothing but JSON is read here, and nothing on the network unless the reader option `allow_network` says so.
"""

from __future__ import annotations

import glob
import json
import os
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from pystac.utils import make_absolute_href

from hdm_geotiff.files.uris import is_remote, without_user
from hdm_geotiff.options import ReaderOptions
from hdm_pipeline.contracts import OUTPUT_MARKER, Skipped
from hdm_pipeline.errors import ArchiveError, EmptyArchiveError

_TIMEOUT = 60
_MOST_BYTES = 2**28
_OWN = "in an output directory of this program: its products are no scenes"
_PARAMETERS: dict[str, Callable[[str], Any]] = {
    "collections": lambda text: text.split(","),
    "ids": lambda text: text.split(","),
    "bbox": lambda text: [float(one) for one in text.split(",")],
    "datetime": str,
    "filter": str,
    "limit": int,
}


@dataclass(frozen=True)
class ItemAt:
    """An item as it stands in a file.

    Attributes:
        content: its JSON.
        base: path or URL that relative links of it start at.
        shown: what reports call it: its file, or the file of many items with its id.
        href: its own file or URL; empty if it has none.
    """

    content: dict[str, Any]
    base: str
    shown: str
    href: str = ""


def find_items(uri: str, options: ReaderOptions) -> Iterator[ItemAt | Skipped]:
    """The items behind a path, pattern or URL, in the order of the catalog, and what was left out.

    Raises:
        ArchiveError: it is no STAC, cannot be read, or is on the network, which is switched off.
        EmptyArchiveError: it does not exist.
    """
    if is_remote(uri) and urlsplit(uri).path.rstrip("/").endswith("/search"):
        _check_network(uri, options)
        yield from _searched(uri)
        return
    paths = sorted(glob.glob(uri, recursive=True)) if glob.has_magic(uri) and not os.path.exists(uri) else [uri]
    if not paths or (not is_remote(uri) and not os.path.exists(paths[0])):
        remedy = "check the path; in a pipeline file, relative paths start at its folder"
        raise EmptyArchiveError("the input does not exist", where=uri, remedy=remedy)
    seen: set[str] = set()
    for path in paths:
        if is_remote(path):
            _check_network(path, options)
        elif _is_own(path):
            remedy = "name the catalog of the scenes, not that of their products"
            raise ArchiveError(f"the catalog lies {_OWN}", where=path, remedy=remedy)
        yield from _walk(path, options, seen, top=True)


def _walk(href: str, options: ReaderOptions, seen: set[str], *, top: bool = False) -> Iterator[ItemAt | Skipped]:
    """Everything below a file, each file once; what cannot be read is left out, but for the file that was named."""
    pending = deque([href])
    while pending:
        href = pending.popleft()
        if href in seen:
            continue
        seen.add(href)
        try:
            content = _read(href, options)
            found, below = _parts(content, href)
        except ArchiveError as error:
            if top:
                raise
            yield Skipped(without_user(href), error.what)
            continue
        top = False
        yield from found
        pending.extendleft(reversed(below))


def _parts(content: Any, href: str) -> tuple[list[ItemAt | Skipped], list[str]]:
    """The items of a file, and the files that it links to.

    Raises:
        ArchiveError: it is no STAC.
    """
    kind = content.get("type") if isinstance(content, dict) else None
    if kind == "FeatureCollection" and isinstance(content.get("features"), list):
        return [_feature(one, href, number) for number, one in enumerate(content["features"])], []
    if kind == "Feature" and _is_item(content):
        return [ItemAt(content, href, without_user(href), href)], []
    if isinstance(content, dict) and isinstance(content.get("links"), list) and "stac_version" in content:
        links = [link for link in content["links"] if isinstance(link, dict) and link.get("rel") in ("item", "child")]
        below = [place_of(str(link.get("href")), href) for link in links]
        own = [Skipped(one, _OWN) for one in below if not is_remote(one) and _is_own(one)]
        left_out = {one.uri for one in own}
        return [*own], [one for one in below if one not in left_out]
    what = "the file is no STAC: neither item, list of items, collection nor catalog"
    raise ArchiveError(what, where=without_user(href), remedy="name a STAC file, or a folder of .tif files")


def _feature(content: Any, href: str, number: int) -> ItemAt | Skipped:
    """An item in a list of items: its links start at its own place, unless its files lie beside the list."""
    shown = f"{without_user(href)}#{content.get('id', number) if isinstance(content, dict) else number}"
    if not _is_item(content):
        named = isinstance(content, dict) and not isinstance(content.get("id", ""), str)
        return Skipped(shown, "no STAC item: its id is no text" if named else "no STAC item")
    links = [link for link in content.get("links") or () if isinstance(link, dict) and link.get("rel") == "self"]
    own = str(links[0].get("href", "")) if links else ""
    own = make_absolute_href(own, href) if own else ""
    relative = [str(asset.get("href")) for asset in content["assets"].values() if isinstance(asset, dict)]
    relative = [one for one in relative if not is_remote(one) and not os.path.isabs(one)]
    beside = any(os.path.exists(place_of(one, href)) for one in relative)
    return ItemAt(content, href if beside or not own else own, shown, own)


def _is_item(content: Any) -> bool:
    return isinstance(content, dict) and isinstance(content.get("id"), str) and isinstance(content.get("assets"), dict)


def place_of(href: str, base: str) -> str:
    """The path or URL that a link of a file means.

    Links are URIs: what may not stand in one is written as `%20`. A file that is really called so counts first.
    """
    place = str(make_absolute_href(href, base))
    if "%" in place and not is_remote(place) and not os.path.exists(place) and os.path.exists(unquote(place)):
        return unquote(place)
    return place


def _is_own(path: str) -> bool:
    """Whether a catalog or item is what a run of this program wrote."""
    folder = os.path.dirname(os.path.abspath(path))
    return any(os.path.isdir(os.path.join(one, OUTPUT_MARKER)) for one in (folder, os.path.dirname(folder)))


def _read(href: str, options: ReaderOptions) -> Any:
    remedy = "check the file; copy or download it again"
    try:
        if is_remote(href):
            _check_network(href, options)
            return json.loads(_fetched(href))
        if os.path.getsize(href) > _MOST_BYTES:
            raise _too_large(href)
        with open(href, encoding="utf-8-sig") as file:
            return json.load(file)
    except (OSError, ValueError, RecursionError) as error:
        text = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ArchiveError(f"the catalog cannot be read: {text}", where=without_user(href), remedy=remedy) from error


def _too_large(href: str) -> ArchiveError:
    what = f"the file is too large to be a catalog: more than {_MOST_BYTES // 2**20} MiB"
    return ArchiveError(what, where=without_user(href), remedy="split it")


def _fetched(url: str) -> bytes:
    """The content of a URL."""
    if urlsplit(url).scheme in ("http", "https"):
        from urllib.request import urlopen

        with urlopen(url, timeout=_TIMEOUT) as answer:
            content = bytes(answer.read(_MOST_BYTES + 1))
        if len(content) > _MOST_BYTES:
            raise _too_large(url)
        return content
    what = f"catalogs are not read from {urlsplit(url).scheme}://"
    raise ArchiveError(what, where=without_user(url), remedy="give its https:// address, or copy it here")


def _check_network(url: str, options: ReaderOptions) -> None:
    if not options.allow_network:
        remedy = (
            "save the catalog, or the result of the search, as a file; or set the reader option allow_network: true"
        )
        raise ArchiveError("network access is switched off", where=without_user(url), remedy=remedy)
    if without_user(url) != url:
        remedy = "give keys in the environment"
        raise ArchiveError("the address holds a user or a password", where=without_user(url), remedy=remedy)


def _searched(url: str) -> Iterator[ItemAt | Skipped]:
    """The items that an API finds, and what is none: ``https://host/search?collections=a,b&bbox=...&datetime=...``.

    Raises:
        ArchiveError: pystac-client is not installed, a parameter is unknown, or the API fails.
    """
    try:
        from pystac_client import Client
        from pystac_client.exceptions import APIError
    except ImportError as error:
        what = "a STAC API is searched with pystac-client, which is not installed"
        raise ArchiveError(what, where=url, remedy="pip install 'hdm-pipeline[stac]'") from error
    asked: dict[str, Any] = {}
    for name, value in parse_qsl(urlsplit(url).query):
        if name not in _PARAMETERS:
            remedy = f"one of: {', '.join(_PARAMETERS)}"
            raise ArchiveError(f"{name} is no parameter of a search here", where=url, remedy=remedy)
        asked[name] = value
    try:
        for name, convert in _PARAMETERS.items():
            if name in asked:
                asked[name] = convert(asked[name])
        root = Client.open(url.split("?")[0].rstrip("/").removesuffix("/search"), timeout=_TIMEOUT)
        for item in root.search(method="GET", **asked).items_as_dicts():
            yield _feature(item, url.split("?")[0], 0)
    except (APIError, OSError, ValueError, KeyError, NotImplementedError) as error:
        remedy = "check the address and what is asked for, then run again"
        raise ArchiveError(f"the search fails: {error}", where=url, remedy=remedy) from error
