"""From a volume to the reference that the core carries, and back: the same files, the same frames, the same notes."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise

from hdm_dicom.archive.discovery import scan_parallel
from hdm_dicom.files.instances import Frame, Rejected
from hdm_dicom.files.uids import digest
from hdm_dicom.options import READER, TOLERANCE
from hdm_dicom.series.grouping import assembled
from hdm_dicom.series.volume import Volume
from hdm_pipeline.contracts import SceneRef


def reference(volume: Volume, reader: str = READER) -> SceneRef:
    """The volume as the core knows it, opened by the plug-in `reader`.

    `uri` carries the hashed id, never the folder's name. `recipe` carries what the members do not show by themselves:
    which of their frames belong to the volume, and what is to be told of the series that they were found in.
    """
    chosen: dict[str, list[int]] = defaultdict(list)
    for frame in volume.frames:
        chosen[frame.instance.path].append(frame.index)
    instances = {frame.instance.path: frame.instance for frame in volume.frames}
    content = sorted(f"{i.sop_instance}:{i.stamp}" for i in instances.values())
    frames = {
        str(number): _ranges(chosen[path])
        for number, (path, instance) in enumerate(instances.items())
        if len(chosen[path]) < instance.frames
    }
    recipe = {"notes": volume.notes, "shared": volume.shared, "frames": frames}
    if volume.unplaced:
        recipe["unplaced"] = volume.unplaced
    return SceneRef(
        id=volume.id,
        uri=f"{READER}:{volume.id}",
        reader=reader,
        identity=digest(*content),
        members=tuple(instances),
        private=True,
        recipe=json.dumps(recipe),
    )


def told_of(ref: SceneRef) -> str:
    """Modality and description of a series: for the person who may read it, and nobody else."""
    frames = next((r for _, r in scan_parallel(ref.members[:1]) if not isinstance(r, Rejected)), None)
    if not frames:
        return ""
    instance = frames[0].instance
    return f"{instance.modality} {instance.description.series}".strip()


def reload(ref: SceneRef, tolerance: float = TOLERANCE) -> Volume | None:
    """The volume of a reference, from the headers of its members; None if they hold it no more."""
    recipe = json.loads(ref.recipe)
    chosen = {int(number): _indices(ranges) for number, ranges in recipe["frames"].items()}
    frames: list[Frame] = []
    for number, (_, result) in enumerate(scan_parallel(ref.members)):
        if not isinstance(result, Rejected):
            frames += [f for f in result if number not in chosen or f.index in chosen[number]]
    if not frames:
        return None
    notes, unplaced = tuple(recipe["notes"]), recipe.get("unplaced", 0)
    return assembled(ref.id, frames, notes, recipe["shared"], tolerance, unplaced)


def _ranges(indices: Iterable[int]) -> str:
    """0, 1, 2, 5 -> 0-2,5."""
    ordered = sorted(indices)
    starts = [ordered[0], *(b for a, b in pairwise(ordered) if b != a + 1)]
    ends = [*(a for a, b in pairwise(ordered) if b != a + 1), ordered[-1]]
    return ",".join(f"{a}-{b}" if a != b else str(a) for a, b in zip(starts, ends, strict=True))


def _indices(ranges: str) -> set[int]:
    found: set[int] = set()
    for part in ranges.split(","):
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found
