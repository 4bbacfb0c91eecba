"""Finding the scenes behind a path, a pattern, a list, an archive or a bucket prefix, without opening any.

=======================  ==========================================================================================
``archive/``             every ``.tif``, ``.tiff``, ``.jp2`` of the folder; of subfolders with ``recursive: true``
``archive/*_VV.tif``     a pattern; ``**`` goes through subfolders
``scenes.txt``           one path or URI a line, relative to the list; blank lines and ``#`` lines are passed over
``one.tif``              one file, whatever its suffix
``X.SAFE``, ``X.zip``    a product, or an archive (zip, tar) with rasters in it
``/vsizip/X.zip/folder`` a part of an archive, as GDAL calls it; also ``/vsitar/``
``catalog.json``         a STAC catalog, collection, item or list of items, see `hdm_geotiff.stac.discovery`
``s3://bucket/prefix``   with ``allow_network: true``; a URI that ends in ``.tif`` is one object
=======================  ==========================================================================================

Files that hold one band each become scenes, see `hdm_geotiff.archive.assembly`. A scene is called as its file without
suffix; two of one name are an error, for each would overwrite the other's mask. With ``ids: path`` the folders below
the common one are part of the name, joined by ``__``. What cannot be part of a folder's name everywhere is replaced,
and a hash of the whole name added, so that names stay apart (`hdm_geotiff.recipes.scene_ids`).

Output directories of this program are passed over: its products are no scenes.
"""

from __future__ import annotations

import glob
import os
from dataclasses import replace
from itertools import pairwise
from operator import attrgetter

from hdm_geotiff.archive.assembly import assemble, unmatched
from hdm_geotiff.archive.listing import NOT_ENTERED, OTHER_RASTERS, Found, list_files
from hdm_geotiff.files.uris import is_stac
from hdm_geotiff.options import READER, ReaderOptions
from hdm_pipeline.contracts import SceneRef, Skipped
from hdm_pipeline.errors import ArchiveError, EmptyArchiveError


def discover(uri: str, options: ReaderOptions, reader: str = READER) -> list[SceneRef | Skipped]:
    """Scenes sorted by id, then what was left out, sorted by URI; `reader` is the name of the plug-in that opens them.

    Raises:
        EmptyArchiveError: nothing is there.
        ArchiveError: two scenes have one id.
    """
    found = _items(uri, options, reader) if is_stac(uri) else _files(uri, options, reader)
    if options.mosaic != "date":
        return found
    from hdm_geotiff.scenes.joined_scenes import join_by_date  # loads GDAL, which finding scenes needs for nothing else
    from hdm_geotiff.scenes.opening import open_source

    scenes = join_by_date([one for one in found if isinstance(one, SceneRef)], options, open_source)
    return [*sorted(scenes, key=lambda ref: ref.id), *(one for one in found if isinstance(one, Skipped))]


def _items(uri: str, options: ReaderOptions, reader: str) -> list[SceneRef | Skipped]:
    """The scenes of a STAC catalog."""
    from hdm_geotiff.stac.discovery import discover_items

    return discover_items(uri, options, reader)


def _files(uri: str, options: ReaderOptions, reader: str) -> list[SceneRef | Skipped]:
    """The scenes of files."""
    listed = list(list_files(uri, options))
    files = [entry for entry in listed if isinstance(entry, Found)]
    if not files and any(isinstance(entry, Skipped) and entry.reason == NOT_ENTERED for entry in listed):
        # A folder of nothing but zipped scenes: there is nothing else that could be meant.
        return _files(uri, replace(options, recursive=True), reader)
    skipped = [entry for entry in listed if isinstance(entry, Skipped)]
    lacking = unmatched(files, options) if files else []
    if lacking and glob.has_magic(uri) and not os.path.exists(uri):
        what = f"no file that the pattern finds is one of the bands {', '.join(lacking)}"
        remedy = f"name the folder instead ({os.path.dirname(uri) or '.'}): what input.uri leaves out is no band"
        raise EmptyArchiveError(what, where=uri, remedy=remedy)
    assembled = assemble(files, options, reader)
    skipped += [one for one in assembled if isinstance(one, Skipped)]
    scenes = [one for one in assembled if isinstance(one, SceneRef)]
    _require_names_apart(scenes)
    if not scenes:
        what = "no scene was found"
        if skipped:
            what += f" ({len(skipped)} other files were left out, e.g. {skipped[0].uri}: {skipped[0].reason})"
        raise EmptyArchiveError(what, where=uri, remedy=_remedy(uri, skipped, options, lacking))
    return [*sorted(scenes, key=attrgetter("id")), *sorted(skipped, key=attrgetter("uri"))]


def _require_names_apart(scenes: list[SceneRef]) -> None:
    """Compared without case: Windows and macOS would put "A" and "a" into one folder.

    Raises:
        ArchiveError: two have one id.
    """
    names = sorted([ref.id.casefold() for ref in scenes])  # they nearly are: it is faster than a set
    for name, after in pairwise(names):
        if name == after:
            one, two, *_ = (ref for ref in scenes if ref.id.casefold() == name)
            remedy = "rename one, or set the reader option ids: path if they lie in different folders"
            raise ArchiveError(f"two scenes are called {two.id!r}", where=f"{one.uri} and {two.uri}", remedy=remedy)


def _remedy(uri: str, skipped: list[Skipped], options: ReaderOptions, lacking: list[str]) -> str:
    """What to do where no scene was found; `lacking` are bands whose patterns fit no file."""
    if lacking:
        return f"compare the patterns of bands with the names of the files: none is one of {', '.join(lacking)}"
    if options.scene is not None and any("option scene" in one.reason for one in skipped):
        return f"compare the reader option scene, {options.scene!r}, with the paths of the files"
    if template := next((pattern for _, pattern in options.bands if "{scene}" in pattern and skipped), None):
        return f"compare the pattern {template!r} with the names of the files"
    named = (os.path.join(uri, name) for name in ("catalog.json", "collection.json"))
    catalogs = [path for path in named if os.path.isfile(path)]
    suffixes = {os.path.splitext(one.uri)[1].lower() for one in skipped}
    if suffixes == {".vrt"}:
        return "set the reader option allow_vrt: true if you trust these files: a VRT may name any other file"
    if suffixes and suffixes <= set(OTHER_RASTERS):
        return "convert the files: gdal_translate -of COG IN OUT.tif"
    if catalogs:
        return f"name the STAC catalog, if it is one: {catalogs[0]}"
    hint = "" if options.recursive else ", or set the reader option recursive: true to look into subfolders"
    return f"name a folder, pattern or list of .tif files{hint}"
