"""Where the pixels and scores of an output in a bucket lie, from one run to the next.

A run on Ray works in the bucket, an inline run on the scratch of its machine, and `execution.work` may say otherwise.
The receipts of what is done go on from run to run, so work that lies where others see it goes on there, and what the
present run does not use is removed: nobody else would.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from hdm_pipeline.contracts import OUTPUT_MARKER
from hdm_pipeline.errors import ObjectStoreError
from hdm_pipeline.objects.folder import ObjectFolder
from hdm_pipeline.output.files import remove_if_empty, remove_tree
from hdm_pipeline.output.layout import Workspace, place_of
from hdm_pipeline.output.ledger import SceneRecord

log = logging.getLogger(__name__)


def settled(workspace: Workspace, before: str) -> Workspace:
    """The workspace of a run, with the place where it works.

    Args:
        workspace: as the pipeline asks for it.
        before: where the last run worked, as `place_told` says it; empty where that is not known.

    Raises:
        ObjectStoreError: the store does not answer, or refuses.
    """
    if workspace.bucket is None:
        return workspace
    beside = workspace.bucket / OUTPUT_MARKER / "scenes"
    if workspace.work is None and next(beside.keys(), None) is not None:
        workspace = replace(workspace, work=beside)  # it goes on where the last run worked, or kept its scores
    if workspace.work is not None:
        _drop_here(workspace)
        if workspace.work != beside:
            beside.delete_all()
    if before not in ("", str(beside), place_told(workspace)):
        _drop_earlier(before, workspace)
    return workspace


def place_told(workspace: Workspace) -> str:
    """Where a run works, for the next one; empty for the scratch of a machine, which no other one reads."""
    return "" if workspace.work is None else str(workspace.work)


def arrays_not_kept(workspace: Workspace, record: SceneRecord, keep: str) -> Iterator[Path | ObjectFolder]:
    """What is not kept of a finished scene, wherever a run works.

    Args:
        workspace: of the run.
        record: of the scene.
        keep: `output.keep`.
    """
    if keep != "all":
        yield workspace.stage_folder(record.id, record.stage_key)
    if keep == "nothing":
        yield workspace.score_folder(record.id, record.score_key)


def _drop_here(workspace: Workspace) -> None:
    """Remove what an inline run left on this machine."""
    for folder in workspace.work_folders():
        for arrays in (*folder.glob("stage-*"), *folder.glob("score-*")):
            remove_tree(arrays)
        remove_if_empty(folder)


def _drop_earlier(before: str, workspace: Workspace) -> None:
    """Remove what an earlier run of this output worked on below another `execution.work`."""
    now = workspace.work
    try:
        place = place_of(before)
        if not workspace.is_own_work(place):
            return
        if isinstance(place, ObjectFolder):
            place.delete_all()
        elif not (isinstance(now, Path) and place.resolve() == now.resolve()):  # not another name of the same folder
            remove_tree(place)
    except (ObjectStoreError, OSError) as error:
        log.warning("what an earlier run worked on in %s cannot be removed: %s", before, error)
