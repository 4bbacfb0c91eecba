"""Whether references to the images of a scene can be followed: each to one image."""

from __future__ import annotations

from hdm_pipeline.contracts import SceneHeader
from hdm_pipeline.errors import WriteError

SHARED = "shared_uids"
"""Attribute of a scene's header: how many of its images share their SOP instance UID with another image."""


def check_references(scene: SceneHeader) -> None:
    """Refuse a scene whose images cannot be referred to, before any of it is worked on.

    Raises:
        WriteError: several images of it share a SOP instance UID.
    """
    refuse_shared(int(scene.attributes.get(SHARED, 0)), scene.ref.id)


def refuse_shared(shared: int, where: str) -> None:
    """Raise `WriteError` if images share their UIDs: a reference would name all of them, and a PACS keeps only one."""
    if shared:
        raise WriteError(
            f"{shared} images share their SOP instance UID with other images: a product that refers to its source "
            "cannot say which is meant",
            where=where,
            remedy="give each image a UID of its own (a PACS would keep one of them only), or choose products without "
            "references, such as nifti",
        )
