"""What DICOMweb and DIMSE have in common: listing and retrieving."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from hdm_dicom.remote.inbox import Inbox
from hdm_dicom.remote.query import ListedSeries

CONNECTION = "input.options.connection"

MAX_LISTED = 1_000_000
"""Most studies, series of a study or instances of a series that are listed; a PACS that lists more is not believed."""

ASK_FOR_LESS = "ask for less by more matching keys (StudyDate, Modality, ...), see docs/pacs.md"


class Peer(Protocol):
    """A PACS that is connected."""

    def studies(self, keys: Mapping[str, str]) -> list[str]:
        """UIDs of studies that match."""
        ...

    def series(self, study: str, keys: Mapping[str, str], more: Collection[str] = ()) -> list[ListedSeries]:
        """Series of a study that match. An empty study is any, which not every PACS allows.

        Args:
            study: UID.
            keys: to match.
            more: keywords that the PACS is asked to tell of each (`ListedSeries.said`).
        """
        ...

    def instances(self, listed: ListedSeries) -> list[str]:
        """UIDs of all instances of a series."""
        ...

    def classes(self, listed: ListedSeries) -> set[str]:
        """SOP classes of the instances of a series; what the PACS does not say is empty."""
        ...

    def holding(self, uid: str, study: str) -> list[ListedSeries]:
        """The series that an instance belongs to; its study, where it is known."""
        ...

    def retrieve(self, listed: ListedSeries, inbox: Inbox, only: Collection[str] = ()) -> None:
        """Put instances of a series into the inbox: all, or only some."""
        ...

    def apart(self) -> AbstractContextManager[Peer]:
        """A connection of its own to the same PACS, for another thread."""
        ...
