"""Listing the files behind a path, a pattern, a list, an archive or a bucket prefix, without opening any raster.

Folders of products (`.SAFE`, Landsat) are entered in any case, other subfolders with `recursive`. Of zip and tar
archives only the table of contents is read.
"""

from __future__ import annotations

import glob
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple
from urllib.parse import urlsplit

from hdm_geotiff.files.containers import Container, container_of, is_container
from hdm_geotiff.files.remote import list_remote
from hdm_geotiff.files.sidecars import Identities, Siblings, with_siblings
from hdm_geotiff.files.uris import (
    NETWORK_SCHEMES,
    WINDOWS_REMEDY,
    is_remote,
    is_virtual,
    is_windows_path,
    unknown_address,
    without_user,
)
from hdm_geotiff.options import ReaderOptions
from hdm_geotiff.recipes.products_by_name import is_metadata, is_product
from hdm_geotiff.recipes.scene_ids import SUFFIXES
from hdm_pipeline.contracts import OUTPUT_MARKER, Skipped
from hdm_pipeline.errors import ArchiveError, EmptyArchiveError, broken_link

OTHER_RASTERS = (".img", ".png", ".jpg", ".jpeg", ".nc", ".hdf", ".h5", ".ecw", ".sid", ".zarr")
"""Suffixes of rasters that are no scenes; they are named, other files are passed over in silence."""

_OTHER_ARCHIVES = (
    ".7z",
    ".rar",
    ".tar.bz2",
    ".tbz2",
    ".tar.xz",
    ".txz",
    ".tar.zst",
    *(f"{end}.gz" for end in SUFFIXES),
)

_SUBDATASET = re.compile(
    r"(?:^|/)(?:NETCDF|HDF[45]\w*|GTIFF_DIR|SENTINEL2_\w+|ZARR|GPKG|GRIB|VRT|NITF_IM):", re.IGNORECASE
)
"""How names of GDAL's subdatasets begin; in a pipeline file they are taken for paths below its folder."""

_OWN = "an output directory of this program: its products are no scenes"
_LINK = "a symbolic link to a folder, which is not followed; name the folder itself as input.uri"
_NESTED = "an archive within an archive, which is not opened: unpack the outer one"
_NO_ARCHIVE = "an archive or a compressed file of a kind that is not opened: unpack it, or make a zip or tar of it"
NOT_ENTERED = "an archive of files; name it as input.uri, or set the reader option recursive: true to look into it"
"""Why an archive in a folder was left out."""


class Found(NamedTuple):
    """A file as listing sees it; sorted by its fields. A tuple, as there may be a million.

    Attributes:
        relative: path below the archive's root, with forward slashes; what ids are made of.
        uri: path or URI.
        identity: size and time stamp, or ETag.
    """

    relative: str
    uri: str
    identity: str


def list_files(uri: str, options: ReaderOptions) -> Iterable[Found | Skipped]:
    """Files that may be scenes, bands of scenes, or metadata of products, and what was left out.

    Raises:
        EmptyArchiveError: the input does not exist.
        ArchiveError: it cannot be listed, or may not be.
    """
    if container := container_of(uri):
        return _named_container(container, uri, options)
    if is_remote(uri) or is_virtual(uri):
        return _remote(uri, options)
    known = Identities()
    if os.path.isdir(uri):
        if options.recursive and _is_output(uri):
            raise _mixed(uri)
        return _folder(uri, uri, options, known)
    if os.path.isfile(uri):
        if uri.lower().endswith(".txt") and not is_metadata(os.path.basename(uri)):
            return _list_file(uri, options, known)
        if is_metadata(os.path.basename(uri)):  # the file that other programs open a product by
            return _folder(os.path.dirname(uri) or ".", os.path.dirname(uri) or ".", options, known, within=True)
        if is_container(uri):
            return _named_container(Container(uri), uri, options)
        return [Found(os.path.basename(uri), uri, known.of(uri))]
    if glob.has_magic(uri):
        return _pattern(uri, options, known)
    if is_windows_path(uri):
        raise EmptyArchiveError("the input is a path of Windows, and this is not", where=uri, remedy=WINDOWS_REMEDY)
    raise _absent("input", uri, uri)


def _absent(kind: str, path: str, uri: str) -> EmptyArchiveError:
    if link := broken_link(path):
        return EmptyArchiveError(f"the {kind} is {link}", where=uri, remedy="set the link anew, or name what it meant")
    if _SUBDATASET.search(uri):
        remedy = f"make a file of it, and name that: gdal_translate -of COG '{os.path.basename(uri)}' OUT.tif"
        what = "the input is a part of a file, as GDAL names it, and only GeoTIFF and JPEG 2000 are opened"
        return EmptyArchiveError(what, where=uri, remedy=remedy)
    remedy = "check the path; in a pipeline file, relative paths start at its folder"
    return EmptyArchiveError(f"the {kind} does not exist", where=uri, remedy=remedy)


def _named_container(container: Container, uri: str, options: ReaderOptions) -> Iterator[Found | Skipped]:
    """What an archive holds that the user named; one that is not there, or is damaged, ends the run."""
    if not os.path.isfile(container.path):
        raise _absent("archive", container.path, uri)
    yield from _members(container, "", options, Identities())


def _members(container: Container, above: str, options: ReaderOptions, known: Identities) -> Iterator[Found | Skipped]:
    """The files of an archive; `above` is its own path below the root, or empty."""
    identity = known.of(container.path)
    whole = Container(container.path)
    for name, unread in container.contents().items():
        inner = name.removeprefix(container.inner).strip("/") or os.path.basename(name)
        reason = _NESTED if is_container(name) else _reason_against(os.path.basename(name), options)
        reason = unread if reason is None and unread else reason
        uri = f"{whole.uri}/{name}"
        if reason:
            yield Skipped(uri, reason)
        elif reason is None:
            yield Found(f"{above}/{inner}".lstrip("/"), uri, identity)


def _entered(path: str, relative: str, options: ReaderOptions, known: Identities) -> Iterator[Found | Skipped]:
    """What an archive among other files holds; a damaged one is left out."""
    try:
        yield from list(_members(Container(path), relative, options, known))
    except ArchiveError as error:
        yield Skipped(path, error.what)


def _is_output(folder: str) -> bool:
    return os.path.isdir(os.path.join(folder, OUTPUT_MARKER))


def _mixed(folder: str) -> ArchiveError:
    remedy = "choose an output.directory beside the scenes or in a folder of its own below them"
    return ArchiveError("scenes and products lie in one folder, and cannot be told apart", where=folder, remedy=remedy)


def _folder(
    folder: str, root: str, options: ReaderOptions, known: Identities, *, within: bool = False
) -> Iterator[Found | Skipped]:
    """One pass of `scandir`, which knows names and kinds without asking for each file; `within`: of a product."""
    try:
        with os.scandir(folder) as listing:
            entries = list(listing)
    except OSError as error:
        if folder != root:
            yield Skipped(folder, f"the folder cannot be listed: {error.strerror}")
            return
        remedy = "check the permissions of the folder"
        raise ArchiveError(f"the folder cannot be listed: {error.strerror}", where=folder, remedy=remedy) from error
    names = [entry.name for entry in entries]
    if OUTPUT_MARKER in names and folder != root:
        yield Skipped(folder, _OWN)
        return
    identity_of = known.in_folder(os.path.dirname(os.path.join(folder, "x")), names)
    below = "" if os.path.relpath(folder, root) == "." else f"{os.path.relpath(folder, root)}/".replace(os.sep, "/")
    within = within or is_product(os.path.basename(folder))
    everywhere = within or options.recursive or any("/" in pattern for _, pattern in options.bands)
    for entry in entries:
        if _is_folder(entry):
            entered = (everywhere or is_product(entry.name)) and not entry.name.startswith(".")
            if entered and entry.is_symlink():
                yield Skipped(entry.path, _LINK)
            elif entered:
                yield from _folder(entry.path, root, options, known, within=within)
        elif (reason := _reason_against(entry.name, options)) is None:
            yield Found(below + entry.name, entry.path, identity_of(entry.path))
        elif is_container(entry.name):
            yield from _beside(entry.path, below + entry.name, options, known)
        elif reason:
            yield Skipped(entry.path, reason)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether it is one; a link that leads round in a circle, or to where nobody may look, is a file that fails."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _beside(path: str, relative: str, options: ReaderOptions, known: Identities) -> Iterator[Found | Skipped]:
    """An archive that lies in a folder with other files."""
    stem = re.sub(r"(\.zip|\.tar|\.tar\.gz|\.tgz)$", "", os.path.basename(path), flags=re.IGNORECASE)
    if options.recursive or is_product(stem):
        yield from _entered(path, relative, options, known)
    else:
        yield Skipped(path, NOT_ENTERED)


def _pattern(pattern: str, options: ReaderOptions, known: Identities) -> Iterator[Found | Skipped]:
    root = os.path.dirname(re.split(r"[*?\[]", pattern, maxsplit=1)[0])
    outputs: dict[str, str | None] = {root: None}
    mixed = _is_output(root or ".")
    for path in glob.iglob(pattern, recursive=True):
        relative = os.path.relpath(path, root or ".").replace(os.sep, "/")
        if os.path.isdir(path):
            if is_product(os.path.basename(path)):
                yield from _folder(path, root or ".", options, known)
            continue
        folder = os.path.dirname(path)
        if mixed and folder != root:
            raise _mixed(root or ".")
        if own := _output_above(folder, outputs):
            if own not in outputs:
                yield Skipped(own, _OWN)
            outputs[own] = own
            continue
        if is_container(path):
            yield from _entered(path, relative, options, known)
        elif (reason := _reason_against(os.path.basename(path), options)) is None:
            yield Found(relative, path, known.of(path))
        elif reason:
            yield Skipped(path, reason)


def _output_above(folder: str, outputs: dict[str, str | None]) -> str | None:
    """The output directory that a folder is or lies in, if any; `outputs` remembers, and holds where to stop."""
    if folder not in outputs:
        above = os.path.dirname(folder)
        inherited = _output_above(above, outputs) if above != folder else None
        found = inherited or (folder if _is_output(folder) else None)
        if found == folder:
            return folder  # not remembered yet: the caller tells of it once
        outputs[folder] = found
    return outputs[folder]


def _list_file(path: str, options: ReaderOptions, known: Identities) -> Iterator[Found | Skipped]:
    try:
        with open(path, encoding="utf-8-sig") as lines:  # editors on Windows begin a text with a byte order mark
            entries = [line.strip() for line in lines]
    except (OSError, UnicodeDecodeError) as error:
        remedy = "a list is a text file in UTF-8 with one path a line"
        raise ArchiveError(f"the list cannot be read: {error}", where=path, remedy=remedy) from error
    base = os.path.dirname(path)
    for entry in entries:
        if not entry or entry.startswith("#"):
            continue
        listed = os.path.join(base, entry)
        relative = os.path.normpath(entry).replace(os.sep, "/")
        if container := container_of(entry):
            yield from _named_container(container, entry, options)
        elif is_remote(entry) or is_virtual(entry):
            yield from _remote(entry, options)
        elif os.path.isdir(listed):
            yield from _folder(listed, base or ".", options, known)
        elif is_container(listed) and os.path.isfile(listed):
            yield from _entered(listed, relative, options, known)
        else:
            # A listed file that is not there stays a scene: its header fails, and the run reports it.
            yield Found(relative, listed, known.of(listed))


def check_address(uri: str, options: ReaderOptions) -> None:
    """Refuse an address on a network that could never be read; asks nobody.

    Raises:
        ArchiveError: another scheme, a network that is not allowed, or a password.
    """
    if container_of(uri) or not (is_remote(uri) or is_virtual(uri)):
        return
    if is_virtual(uri) or urlsplit(uri).scheme.lower() not in NETWORK_SCHEMES:
        what, remedy = unknown_address(uri)
        raise ArchiveError(what, where=without_user(uri), remedy=remedy)
    if not options.allow_network:
        remedy = "use a path, or set the reader option allow_network: true for s3:// and https:// URIs"
        raise ArchiveError("network access is switched off", where=without_user(uri), remedy=remedy)
    if without_user(uri) != uri:
        # Reports and the ledger name each scene by its URI.
        remedy = "give keys in the environment (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY for s3://)"
        raise ArchiveError("the address holds a user or a password", where=without_user(uri), remedy=remedy)


def _remote(uri: str, options: ReaderOptions) -> Iterator[Found | Skipped]:
    check_address(uri, options)
    objects = list(list_remote(uri))
    folders: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for remote in objects:
        folder, _, name = remote.uri.rpartition("/")
        folders[folder][name] = remote.identity
    siblings = {folder: Siblings(folder, list(names)) for folder, names in folders.items()}
    for remote in objects:
        folder, _, name = remote.uri.rpartition("/")
        reason = None if remote.uri == uri else _reason_against(name, options)
        if reason:
            yield Skipped(remote.uri, reason)
        elif reason is None:
            identity = with_siblings(name, remote.identity, siblings[folder], folders[folder])
            yield Found(remote.relative, remote.uri, identity)


def _reason_against(name: str, options: ReaderOptions) -> str | None:
    """Why a file is left out: None if it is not, empty if it is not even worth a word (sidecars, read-me files)."""
    lower = name.lower()
    if lower.endswith(SUFFIXES):
        return "a macOS resource fork, not an image" if name.startswith("._") else None
    if is_metadata(name):
        return None
    if lower.endswith(".vrt"):
        return None if options.allow_vrt else "a virtual raster; set the reader option allow_vrt: true if you trust it"
    if lower.endswith(_OTHER_ARCHIVES):
        return _NO_ARCHIVE
    return "neither GeoTIFF nor JPEG 2000" if lower.endswith(OTHER_RASTERS) else ""
