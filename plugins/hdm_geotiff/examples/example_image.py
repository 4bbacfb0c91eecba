"""The image of an example, found the way scenes are: a file, or a scene of several files."""

from __future__ import annotations

import os
from dataclasses import replace

from hdm_geotiff.archive.assembly import assemble
from hdm_geotiff.archive.discovery import discover
from hdm_geotiff.archive.listing import Found, list_files
from hdm_geotiff.files.containers import container_of, is_container
from hdm_geotiff.files.uris import is_remote, is_virtual
from hdm_geotiff.options import READER, ReaderOptions
from hdm_geotiff.recipes.layers import STAC_ITEM, LayeredScene
from hdm_geotiff.recipes.products_by_name import band_file, is_metadata
from hdm_geotiff.recipes.scene_ids import scene_id
from hdm_geotiff.scenes.joined_scenes import MARK
from hdm_pipeline.contracts import SceneRef
from hdm_pipeline.errors import HdmError, SupportError

_ITEM = ".json"
"""How the file of a STAC item ends."""


def image_ref(image: str, options: ReaderOptions) -> SceneRef:
    """The scene that an example's image is.

    Args:
        image: a raster; or a folder, product, archive or STAC item with one scene in it; or any file of a scene of
            several.
        options: of the reader.

    Raises:
        SupportError: more than one scene is there.
        ArchiveError: none is.
    """
    options = replace(options, mosaic=None)
    name = os.path.basename(image.rstrip("/"))
    alone = SceneRef(scene_id(name, options.ids), image, READER, "example")
    if os.path.isdir(image) or is_container(image) or is_metadata(name) or name.lower().endswith(_ITEM):
        return _only(image, options)
    if os.path.isfile(image) and (options.bands or band_file(name)):
        beside = os.path.dirname(os.path.abspath(image))
        files = [one for one in list_files(beside, replace(options, recursive=False)) if isinstance(one, Found)]
        scenes = [ref for ref in assemble(files, options, READER) if isinstance(ref, SceneRef) and ref.recipe]
        whole = [ref for ref in scenes if os.path.abspath(image) in ref.members]
        return whole[0] if whole else alone
    if container := container_of(image):
        return _only(image, options) if container.names() != [container.inner] else alone
    return alone


def image_of(ref: SceneRef, options: ReaderOptions) -> str | None:
    """What an example names to mean a scene: absolute, and `image_ref` makes that scene of it.

    Returns:
        None where nothing does: for scenes that were joined, and items that lie in no file of their own.
    """
    told = "" if ref.recipe.startswith(MARK) or not ref.recipe else _item_of(ref)
    for uri in dict.fromkeys((ref.uri, told, *ref.members[:1])):
        if uri and _means(uri, ref, options):
            return _absolute(uri)
    return None


def _item_of(ref: SceneRef) -> str:
    return LayeredScene.loads(ref.recipe).attributes.get(STAC_ITEM, "")


def _means(image: str, ref: SceneRef, options: ReaderOptions) -> bool:
    try:
        found = image_ref(image, options)
    except HdmError:
        return False
    one, other = (ref.members or (ref.uri,) for ref in (found, ref))
    return bool(found.recipe) == bool(ref.recipe) and [*map(_absolute, one)] == [*map(_absolute, other)]


def _absolute(uri: str) -> str:
    return uri if is_remote(uri) or is_virtual(uri) else os.path.abspath(uri)


def image_files(image: str, options: ReaderOptions) -> list[str]:
    """Files on disk that the image of an example is read from, metadata and archives included; none for one raster.

    Raises:
        SupportError: more than one scene is there.
        ArchiveError: none is.
    """
    ref = image_ref(image, options)
    if not ref.recipe and container_of(ref.uri) is None:
        return []
    metadata = LayeredScene.loads(ref.recipe).metadata if ref.recipe else ""
    found = [container_of(uri) or uri for uri in (*(ref.members or (ref.uri,)), *([metadata] if metadata else []))]
    return sorted({one if isinstance(one, str) else one.path for one in found})


def _only(image: str, options: ReaderOptions) -> SceneRef:
    found = [ref for ref in discover(image, options, READER) if isinstance(ref, SceneRef)]
    layered = [ref for ref in found if ref.recipe]
    if len(layered) == 1:
        return layered[0]  # what else lies there may be its mask
    if len(found) > 1:
        what = f"an example is one image, but {len(found)} scenes are there: {found[0].id}, {found[1].id}"
        remedy = "name the folder or one of the files of the scene that is meant"
        raise SupportError(what, where=image, remedy=remedy)
    return found[0]
