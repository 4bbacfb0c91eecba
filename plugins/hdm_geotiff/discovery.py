"""Finding the scenes behind a path, a pattern, a list or a bucket prefix, without opening any.

======================  ==========================================================================================
``archive/``            every ``.tif`` and ``.tiff`` of the folder; of its subfolders too with ``recursive: true``
``archive/*_VV.tif``    a pattern; ``**`` goes through subfolders
``scenes.txt``          one path or URI a line, relative to the list; blank lines and ``#`` lines are passed over
``one.tif``             one file, whatever its suffix
``s3://bucket/prefix``  with ``allow_network: true``; a URI that ends in ``.tif`` is one object
======================  ==========================================================================================

A scene is called as its file without suffix; two of one name are an error, for each would overwrite the other's mask.
With ``ids: path`` the folders below the common one are part of the name, joined by ``__``. What cannot be part of a
folder's name everywhere is replaced, and a hash of the whole name added, so that names stay apart.

Output directories of this program are passed over: its products are no scenes.
"""

from __future__ import annotations

import glob
import hashlib
import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from hdm_geotiff.options import READER, ReaderOptions
from hdm_geotiff.remote import list_remote
from hdm_geotiff.sidecars import Identities, Siblings, with_siblings
from hdm_geotiff.uris import NETWORK_SCHEMES, is_remote, is_virtual, unknown_address, without_user
from hdm_pipeline.contracts import OUTPUT_MARKER, SceneRef, Skipped
from hdm_pipeline.errors import ArchiveError, EmptyArchiveError

SUFFIXES = (".tif", ".tiff")
_OTHER_RASTERS = (
    ".jp2",
    ".img",
    ".png",
    ".jpg",
    ".jpeg",
    ".nc",
    ".hdf",
    ".h5",
    ".ecw",
    ".sid",
    ".zarr",
    ".safe",
    ".zip",
)
_UNSAFE = re.compile(r"[^A-Za-z0-9._+=@ -]")
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d|run\.json|collection\.json)(\..*)?", re.IGNORECASE)
_MAX_ID = 120
_DIGITS = 8
_OWN = "an output directory of this program: its products are no scenes"


@dataclass(frozen=True)
class Found:
    """A file as listing sees it.

    Attributes:
        uri: path or URI.
        relative: path below the archive's root, with forward slashes; what ids are made of.
        identity: size and time stamp, or ETag.
    """

    uri: str
    relative: str
    identity: str


def discover(uri: str, options: ReaderOptions, reader: str = READER) -> list[SceneRef | Skipped]:
    """Scenes sorted by id, then what was left out, sorted by URI; `reader` is the name of the plug-in that opens them.

    Raises:
        EmptyArchiveError: nothing is there.
        ArchiveError: two scenes have one id.
    """
    scenes: dict[str, SceneRef] = {}
    skipped: list[Skipped] = []
    for entry in _listing(uri, options):
        if isinstance(entry, Skipped):
            skipped.append(entry)
            continue
        ref = SceneRef(scene_id(entry.relative, options.ids), entry.uri, reader, entry.identity)
        # Compared without case: Windows and macOS would put "A" and "a" into one folder.
        other = scenes.setdefault(ref.id.casefold(), ref)
        if other is not ref:
            remedy = "rename one, or set the reader option ids: path if they lie in different folders"
            raise ArchiveError(f"two scenes are called {ref.id!r}", where=f"{other.uri} and {ref.uri}", remedy=remedy)
    if not scenes:
        what = "no scene was found"
        if skipped:
            what += f" ({len(skipped)} other files were left out, e.g. {skipped[0].uri}: {skipped[0].reason})"
        raise EmptyArchiveError(what, where=uri, remedy=_remedy(skipped, options))
    return [*sorted(scenes.values(), key=lambda ref: ref.id), *sorted(skipped, key=lambda one: one.uri)]


def scene_id(relative: str, ids: str) -> str:
    """A scene's id: safe as a folder name on any system, and another one for each name.

    A name of plain letters, digits, spaces and ``._+=@-`` is the id. Of any other name the id holds what can be kept,
    and the start of the name's SHA-256: ``lake (1).tif`` is ``lake _1_-e8f5d2a0``.

    Args:
        relative: path below the archive's root, with forward slashes.
        ids: ``name`` or ``path``.
    """
    path = PurePosixPath(relative)
    stem = path.stem if path.suffix.lower() in (*SUFFIXES, ".vrt") else path.name
    parts = [*path.parts[:-1], stem] if ids == "path" else [stem]
    full = "__".join(parts)
    bare = "".join(c for c in unicodedata.normalize("NFKD", full) if not unicodedata.combining(c))  # é as e
    name = _UNSAFE.sub("_", bare).strip(" ").rstrip(".")
    if not name or name[0] in ".+=@-" or _RESERVED.fullmatch(name):
        name = f"_{name}"
    if name == full and len(name) <= _MAX_ID:
        return name
    digest = hashlib.sha256(full.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]
    return f"{name[: _MAX_ID - _DIGITS - 1]}-{digest}"


def _remedy(skipped: list[Skipped], options: ReaderOptions) -> str:
    """What to do where no scene was found."""
    suffixes = {os.path.splitext(one.uri)[1].lower() for one in skipped}
    if suffixes == {".vrt"}:
        return "set the reader option allow_vrt: true if you trust these files: a VRT may name any other file"
    if suffixes and suffixes <= set(_OTHER_RASTERS) - {".zip"}:
        return "convert the files: gdal_translate -of COG IN OUT.tif"
    hint = "" if options.recursive else ", or set the reader option recursive: true to look into subfolders"
    return f"name a folder, pattern or list of .tif files{hint}"


def _listing(uri: str, options: ReaderOptions) -> Iterable[Found | Skipped]:
    if is_remote(uri) or is_virtual(uri):
        return _remote(uri, options)
    known = Identities()
    if os.path.isdir(uri):
        if options.recursive and _is_output(uri):
            raise _mixed(uri)
        return _folder(uri, uri, options, known)
    if os.path.isfile(uri):
        if uri.lower().endswith(".txt"):
            return _list_file(uri, options, known)
        return [Found(uri, os.path.basename(uri), known.of(uri))]
    if glob.has_magic(uri):
        return _pattern(uri, options, known)
    remedy = "check the path; relative paths start at the folder of the pipeline file"
    raise EmptyArchiveError("the input does not exist", where=uri, remedy=remedy)


def _is_output(folder: str) -> bool:
    return os.path.isdir(os.path.join(folder, OUTPUT_MARKER))


def _mixed(folder: str) -> ArchiveError:
    remedy = "choose an output.directory beside the scenes or in a folder of its own below them"
    return ArchiveError("scenes and products lie in one folder, and cannot be told apart", where=folder, remedy=remedy)


def _folder(folder: str, root: str, options: ReaderOptions, known: Identities) -> Iterator[Found | Skipped]:
    """One pass of `scandir`, which knows names and kinds without asking for each file."""
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
    known.knows(os.path.dirname(os.path.join(folder, "x")), names)
    for entry in entries:
        if entry.is_dir():
            if options.recursive and not entry.name.startswith(".") and not entry.is_symlink():
                yield from _folder(entry.path, root, options, known)
            elif entry.name.lower().endswith(".safe"):
                yield Skipped(entry.path, "a folder of Sentinel products; its images are no GeoTIFF")
            continue
        reason = _reason_against(entry.name, options)
        if reason:
            yield Skipped(entry.path, reason)
        elif reason is None:
            relative = os.path.relpath(entry.path, root).replace(os.sep, "/") if folder != root else entry.name
            yield Found(entry.path, relative, known.of(entry.path))


def _pattern(pattern: str, options: ReaderOptions, known: Identities) -> Iterator[Found | Skipped]:
    root = os.path.dirname(re.split(r"[*?\[]", pattern, maxsplit=1)[0])
    outputs: dict[str, str | None] = {root: None}
    mixed = _is_output(root or ".")
    for path in glob.iglob(pattern, recursive=True):
        if os.path.isdir(path):
            continue
        folder = os.path.dirname(path)
        if mixed and folder != root:
            raise _mixed(root or ".")
        if own := _output_above(folder, outputs):
            if own not in outputs:
                yield Skipped(own, _OWN)
            outputs[own] = own
            continue
        reason = _reason_against(os.path.basename(path), options)
        if reason:
            yield Skipped(path, reason)
        elif reason is None:
            yield Found(path, os.path.relpath(path, root or ".").replace(os.sep, "/"), known.of(path))


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
        if is_remote(entry) or is_virtual(entry):
            yield from _remote(entry, options)
        else:
            # A listed file that is not there stays a scene: its header fails, and the run reports it.
            listed = os.path.join(base, entry)
            yield Found(listed, os.path.normpath(entry).replace(os.sep, "/"), known.of(listed))


def _remote(uri: str, options: ReaderOptions) -> Iterator[Found | Skipped]:
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
            yield Found(remote.uri, remote.relative, identity)


def _reason_against(name: str, options: ReaderOptions) -> str | None:
    """Why a file is left out: None if it is a scene, empty if it is not even worth a word (sidecars, read-me files)."""
    lower = name.lower()
    if lower.endswith(SUFFIXES):
        return "a macOS resource fork, not an image" if name.startswith("._") else None
    if lower.endswith(".vrt"):
        return None if options.allow_vrt else "a virtual raster; set the reader option allow_vrt: true if you trust it"
    return "not a GeoTIFF" if lower.endswith(_OTHER_RASTERS) else ""
