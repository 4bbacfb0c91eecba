"""What peers of `output.send` have, and lack: as people read it at the end of a run and in `status`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from hdm_pipeline.errors import counted
from hdm_pipeline.options import SendSummary
from hdm_pipeline.output.deliveries import Delivery
from hdm_pipeline.output.ledger import SceneRecord

_SHOWN = 3
"""Scenes that are named; all stand in `run.json`."""

Owed = Mapping[str, Mapping[str, Mapping[str, str]]]
"""`what` and `remedy` by peer and scene."""

_NOT_YET = {"what": "not sent yet", "remedy": "run the pipeline again"}


def undelivered(
    records: Iterable[SceneRecord], deliveries: Iterable[Delivery], asked: Collection[str] | None = None
) -> Owed:
    """What the ledger owes: scenes of which a peer lacks the present products.

    Args:
        records: of all scenes, or of those of which a peer may lack something.
        deliveries: all that the ledger knows of these.
        asked: addresses of the peers that the last run had; to others nothing is owed. None where that is not known.
    """
    known = {(one.peer, one.scene): one for one in deliveries}
    peers = {peer for peer, _ in known}
    found: dict[str, dict[str, Mapping[str, str]]] = {}
    for record in records:
        if record.status not in ("done", "vanished"):
            continue
        # Who was asked for later than the scene was done stands in the deliveries only.
        tried = {peer for peer in peers if (peer, record.id) in known}
        for peer in sorted({*record.info.get("send", ()), *tried}):
            if asked is not None and peer not in asked:
                continue
            delivery = known.get((peer, record.id))
            present = delivery is not None and delivery.product_key == record.product_key
            if not present and peer in record.info.get("send", ()):
                found.setdefault(peer, {})[record.id] = _NOT_YET
            elif delivery is not None and present and not delivery.complete:
                found.setdefault(peer, {})[record.id] = dict(delivery.error or _NOT_YET)
    return found


def not_sent_lines(peer: str, scenes: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Which scenes a peer lacks something of, and why; scenes of one reason together. Empty without any."""
    by_reason: dict[tuple[str, str], list[str]] = {}
    for scene, error in sorted(scenes.items()):
        by_reason.setdefault((error.get("what", ""), error.get("remedy", "")), []).append(scene)
    lines: list[str] = []
    for (what, remedy), names in sorted(by_reason.items(), key=lambda one: (-len(one[1]), one[0])):
        shown = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
        lines.append(f"not sent  {counted(len(names), 'scene')} to {peer}: {what} ({shown})")
        lines += [f"  remedy: {remedy}"] if remedy else []
    return lines


def sent_lines(sends: Sequence[SendSummary]) -> list[str]:
    """What a run sent: one line a peer, for those to whom there was something to send."""
    return [
        f"sent {counted(peer.files, 'file')} of {counted(peer.sent, 'scene')} to {peer.to}"
        + (f"; {counted(len(peer.not_sent), 'scene')} could not be sent" if peer.not_sent else "")
        + (f"; {counted(peer.waiting, 'scene')} left to the next run" if peer.waiting else "")
        for peer in sends
        if peer.sent or peer.not_sent or peer.waiting
    ]
