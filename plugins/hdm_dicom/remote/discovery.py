"""From an address to series: what a PACS lists, without fetching anything."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict
from queue import SimpleQueue

from hdm_dicom.archive.discovery import no_volume
from hdm_dicom.files.marks import MANUFACTURER
from hdm_dicom.files.uids import digest, is_uid
from hdm_dicom.options import READER, ReaderOptions
from hdm_dicom.pacs.address import Address
from hdm_dicom.remote.connecting import connected
from hdm_dicom.remote.peer import Peer
from hdm_dicom.remote.query import ListedSeries, Query, parse_query
from hdm_dicom.selection import Selection
from hdm_dicom.series.grouping import series_id
from hdm_pipeline.contracts import SceneRef, Skipped
from hdm_pipeline.errors import QuietArchiveError, counted

WHERE = "input.uri"

_LISTERS = 4
"""Studies whose series are listed at once."""

_NO_IMAGES = frozenset(
    (
        *("SEG", "SR", "PR", "KO", "DOC", "RTSTRUCT", "RTPLAN", "RTDOSE", "RTRECORD", "RTINTENT", "REG", "FID", "RWV"),
        *("AU", "ECG", "EEG", "EPS", "HD", "RESP", "PLAN", "SMR", "TEXTUREMAP", "M3D", "ANN", "STAIN", "SM"),
    )
)
"""Modalities of series that hold no volume (PS3.3 C.7.3.1.1.1)."""

_SAID = {
    "series_description": "SeriesDescription",
    "protocol": "ProtocolName",
    "body_part": "BodyPartExamined",
    "manufacturer": "Manufacturer",
}
"""What a list may tell of a whole series, beside the modality; `image_type` differs from image to image."""

_MAKER = "manufacturer"


def find(uri: str, options: ReaderOptions, reader: str = READER) -> Iterator[SceneRef | Skipped]:
    """Series of a PACS, one reference each, and what is left out.

    A list does not tell how many volumes a series holds; that is seen when it is fetched. Neither need it tell all that
    `input.select` chooses by: by what it does not tell, a series is judged when it is here.

    Raises:
        ConfigError: see `parse_query`.
        QuietArchiveError: nothing matches, or nothing that does is a scene.
        PeerError: the PACS cannot be reached, refuses, or answers what it must not.
    """
    address, query = parse_query(uri, options, WHERE)
    with connected(address, options) as peer:
        found = _listed(peer, query, [_SAID[key] for key in sorted({*options.select.keys & _SAID.keys(), _MAKER})])
        unfit = {one.series: reason for one in found if (reason := _unfit(one, peer))}
    if not found:
        raise QuietArchiveError(
            "the PACS lists no series for this query",
            where=address.shown,
            remedy="try fewer matching keys; some PACS match only a few",
        )
    left_out = Counter(one.modality for one in found if one.modality in _NO_IMAGES)
    yield from (
        Skipped(address.shown, f"{count} series of {kind}: no images") for kind, count in sorted(left_out.items())
    )
    seen: set[str] = set()
    taken = False
    for one in found:
        if one.modality not in _NO_IMAGES and one.series not in seen:
            seen.add(one.series)
            reason = unfit.get(one.series) or _not_chosen(one, options.select)
            taken = taken or not reason
            yield Skipped(series_id(one.series, one.modality), reason) if reason else reference(one, address, reader)
    if not taken:
        raise QuietArchiveError(
            f"none of the {len(found)} series that the PACS lists is wanted"
            if len(found) > 1
            else "the one series that the PACS lists is not wanted",
            where=address.shown,
            remedy="`plan` says why each is left out",
        )


def _unfit(listed: ListedSeries, peer: Peer) -> str:
    """Why a series holds no scene, as far as that can be told before it is fetched; empty if it may.

    Products that were sent to the PACS come back with every list. Modality OT may be anything: its objects are asked
    for what they are.
    """
    if listed.said.get(_SAID[_MAKER]) == MANUFACTURER:
        return "a product of this pipeline, not a scene"
    if listed.modality != "OT":
        return ""
    reasons = {no_volume(sop_class) for sop_class in peer.classes(listed)}
    return "" if "" in reasons else "; ".join(sorted(reasons))


def _not_chosen(listed: ListedSeries, select: Selection) -> str:
    """Why a series need not be fetched, by what the list tells of it; empty if it must, or the list does not tell."""
    texts = {key: listed.said.get(keyword, "") for key, keyword in _SAID.items()}
    told = {key: text for key, text in {"modality": listed.modality, **texts}.items() if text}
    return select.by(told).left_out(told, None)


def reference(listed: ListedSeries, address: Address, reader: str = READER) -> SceneRef:
    """A series of a PACS as the core knows it: the id that its one volume has in a folder, too."""
    name = series_id(listed.series, listed.modality)
    return SceneRef(
        id=name,
        uri=f"{READER}:{name}",
        reader=reader,
        identity=digest("series of a PACS", listed.series, listed.count),
        private=True,
        recipe=json.dumps({"address": address.shown, **{k: v for k, v in asdict(listed).items() if k != "said"}}),
        remote=True,
        about=f"{listed.modality or 'modality not told'}, "
        + ("number of instances not told" if listed.count is None else counted(listed.count, "instance")),
    )


def _listed(peer: Peer, query: Query, more: Sequence[str]) -> list[ListedSeries]:
    if "StudyInstanceUID" in query.study and not set(query.study) - {"StudyInstanceUID"}:
        studies = query.study["StudyInstanceUID"].replace(",", "\\").split("\\")
    elif set(query.series) == {"SeriesInstanceUID"} and not query.study:
        return [one for one in peer.series("", query.series, more) if is_uid(one.study)]
    else:
        studies = peer.studies(query.study)
    return [one for of_study in _each(peer, sorted(studies), query, more) for one in of_study]


def _each(peer: Peer, studies: list[str], query: Query, more: Sequence[str]) -> Iterator[list[ListedSeries]]:
    """The series of each study; several studies are asked for at once."""
    if len(studies) < 2 * _LISTERS:
        yield from (peer.series(study, query.series, more) for study in studies)
        return
    with ExitStack() as stack:
        peers: SimpleQueue[Peer] = SimpleQueue()
        for _ in range(_LISTERS):
            peers.put(stack.enter_context(peer.apart()))

        def ask(study: str) -> list[ListedSeries]:
            mine = peers.get()
            try:
                return mine.series(study, query.series, more)
            finally:
                peers.put(mine)

        pool = stack.enter_context(ThreadPoolExecutor(_LISTERS, thread_name_prefix="pacs-list"))
        yield from pool.map(ask, studies)
