"""The image of an example, found the way scenes are: a file, or a scene of several files."""

from __future__ import annotations

import os
from dataclasses import replace

from hdm_geotiff.containers import container_of, is_container
from hdm_geotiff.discovery import discover
from hdm_geotiff.options import READER, ReaderOptions
from hdm_geotiff.products_by_name import band_file, is_metadata
from hdm_geotiff.scene_ids import scene_id
from hdm_pipeline.contracts import SceneRef
from hdm_pipeline.errors import SupportError


def image_ref(image: str, options: ReaderOptions) -> SceneRef:
    """The scene that an example's image is.

    Args:
        image: a raster; or a folder, product or archive with one scene in it; or any file of a scene of several.
        options: of the reader.

    Raises:
        SupportError: more than one scene is there.
        ArchiveError: none is.
    """
    name = os.path.basename(image.rstrip("/"))
    alone = SceneRef(scene_id(name, options.ids), image, READER, "example")
    if os.path.isdir(image) or is_container(image) or is_metadata(name):
        return _only(image, options)
    if os.path.isfile(image) and (options.bands or band_file(name)):
        beside = os.path.dirname(os.path.abspath(image))
        found = discover(beside, replace(options, recursive=False), READER)
        whole = [ref for ref in found if isinstance(ref, SceneRef) and os.path.abspath(image) in ref.members]
        return whole[0] if whole else alone
    if container := container_of(image):
        return _only(image, options) if container.names() != [container.inner] else alone
    return alone


def _only(image: str, options: ReaderOptions) -> SceneRef:
    found = [ref for ref in discover(image, options, READER) if isinstance(ref, SceneRef)]
    if len(found) > 1:
        what = f"an example is one image, but {len(found)} scenes are there: {found[0].id}, {found[1].id}"
        remedy = "name the folder or one of the files of the scene that is meant"
        raise SupportError(what, where=image, remedy=remedy)
    return found[0]
