"""From a listed series, or the address of an example, to files."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from hdm_dicom.archive.discovery import find as find_files
from hdm_dicom.archive.references import reference as file_reference
from hdm_dicom.files.reports import drawings_of
from hdm_dicom.options import READER, ReaderOptions
from hdm_dicom.pacs.address import parse_address
from hdm_dicom.remote.connecting import connected
from hdm_dicom.remote.inbox import Inbox
from hdm_dicom.remote.peer import Peer
from hdm_dicom.remote.query import ListedSeries, Query, parse_query
from hdm_pipeline.contracts import SceneRef, Skipped
from hdm_pipeline.errors import (
    ConfigError,
    EmptyArchiveError,
    FetchError,
    NoAnswerError,
    PeerError,
    PeerRefusedError,
    PeerSilentError,
    SupportError,
    counted,
)

_EXAMPLE = "support example"


def fetch(
    ref: SceneRef, folder: Path, stopped: Callable[[], bool], options: ReaderOptions, reader: str = READER
) -> list[SceneRef | Skipped]:
    """Bring a series into a folder; see `hdm_pipeline.contracts.RemoteReader.fetch`."""
    recipe = json.loads(ref.recipe)
    address = parse_address(recipe.pop("address"), "input.uri")
    listed = ListedSeries(**recipe)
    try:
        with connected(address, options) as peer:
            inbox = Inbox(folder, listed.series, options.max_fetch_bytes, ref.id, stopped)
            _complete(peer, listed, inbox, ref.id)
    except PeerRefusedError:
        raise
    except PeerError as error:
        kind = NoAnswerError if isinstance(error, PeerSilentError) else FetchError
        raise kind(error.what, where=f"{ref.id} of {error.where}", remedy=error.remedy) from None
    return _opened(ref, folder, options, reader)


def _complete(peer: Peer, listed: ListedSeries, inbox: Inbox, where: str) -> None:
    """Retrieve what is not there; all at once where nothing is.

    Raises:
        FetchError: instances are missing still.
    """
    if not len(inbox):
        peer.retrieve(listed, inbox)
        if listed.count is not None and len(inbox) >= listed.count:
            return
    uids = peer.instances(listed)
    said = max(len(uids), listed.count or 0)
    if missing := inbox.missing(uids):
        peer.retrieve(listed, inbox, missing)
    if len(inbox) < said or inbox.missing(uids):
        raise FetchError(
            f"the PACS says that the series has {counted(said, 'instance')}, and sends {len(inbox)}",
            where=where,
            remedy="run again when the study is complete; ask the PACS' administrator if it stays so",
        )


def _opened(ref: SceneRef, folder: Path, options: ReaderOptions, reader: str) -> list[SceneRef | Skipped]:
    """The volumes of a folder, and reasons why other files in it are none, each once."""
    try:
        volumes, skipped = find_files(str(folder), options.local())
    except EmptyArchiveError as error:
        raise FetchError(error.what, where=ref.id, remedy="ask the PACS' administrator") from None
    reasons = Counter(one.reason for one in skipped)
    told = [Skipped(ref.id, reason if count == 1 else f"{count} files: {reason}") for reason, count in reasons.items()]
    return [*(file_reference(volume, reader) for volume in volumes), *sorted(told, key=lambda one: one.reason)]


def fetch_example(uri: str, folder: Path, options: ReaderOptions) -> str:
    """Bring an image or mask into a folder; see `hdm_pipeline.contracts.RemoteReader.fetch_example`."""
    try:
        address, query = parse_query(uri, options, _EXAMPLE, instances=True)
    except ConfigError as error:
        raise SupportError(error.what, where=error.where, remedy=error.remedy) from None
    most, where = options.max_fetch_bytes, address.shown
    with connected(address, options) as peer:
        listed = _one_series(peer, query, where)
        wanted = query.instance.get("SOPInstanceUID", "")
        found = _bring_example(peer, listed, wanted, folder, most, where)
        if wanted and (drawn := drawings_of(found)) is not None:
            if len(drawn) != 1:
                raise SupportError(
                    f"the report refers to {len(drawn)} segmentations or structure sets",
                    where=where,
                    remedy="name the one that is meant by its own SOPInstanceUID",
                )
            meant = Query(study={"StudyInstanceUID": listed.study}, instance={"SOPInstanceUID": drawn[0]})
            found = _bring_example(peer, _one_series(peer, meant, where), drawn[0], folder, most, where)
    return str(found)


def _bring_example(peer: Peer, listed: ListedSeries, wanted: str, folder: Path, most: int, where: str) -> Path:
    """One instance of a series, or all of them where none is wanted; the folder holds nothing else afterwards."""
    inbox = Inbox(folder, listed.series, most, where)
    uids = [wanted] if wanted else peer.instances(listed)
    inbox.keep_only(uids)
    if missing := inbox.missing(uids):
        peer.retrieve(listed, inbox, missing if wanted or len(inbox) else ())
    if not uids or inbox.missing(uids):
        raise SupportError(
            f"{len(inbox.missing(uids))} of {len(uids)} instances of the object do not come from the PACS",
            where=where,
            remedy="check the UIDs of the address",
        )
    for name in uids:
        _dated_by_content(inbox.path(name))
    return inbox.path(wanted) if wanted else folder


def _one_series(peer: Peer, query: Query, where: str) -> ListedSeries:
    """The series that an example names by UID, or that holds the instance it names."""
    uid = query.instance.get("SOPInstanceUID", "")
    if set(query.instance) - {"SOPInstanceUID"} or not (uid or "SeriesInstanceUID" in query.series):
        raise SupportError(
            "an example from a PACS is named by UID",
            where=where,
            remedy="give SeriesInstanceUID for a series, SOPInstanceUID for one object (a SEG, an RTSTRUCT, or a "
            "report that refers to one)",
        )
    study = query.study.get("StudyInstanceUID", "")
    if uid and "SeriesInstanceUID" not in query.series:
        found = peer.holding(uid, study)
    else:
        found = [one for one in peer.series(study, query.series) if one.study]
    if len(found) != 1:
        raise SupportError(
            "the PACS does not hold such an object" if not found else f"the PACS lists {len(found)} of such a series",
            where=where,
            remedy="check the UID; with dimse:// give StudyInstanceUID, too",
        )
    return found[0]


def _dated_by_content(path: Path) -> None:
    """Give a file a time made of its content: folders of examples are told apart by times, wherever they came from."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    stamp = int(digest[:12], 16)
    os.utime(path, ns=(stamp, stamp))
