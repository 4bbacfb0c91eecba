"""One peer's thread: takes parcels from a queue, sends, tries again, and notes every answer in the ledger.

A peer that cannot be reached is tried `ATTEMPTS` times with growing pauses. Then its parcels are put aside without
trying; every `RECHECK` seconds one is tried again, and a last one at the end of the run. A peer that lets nobody in
(wrong credentials) is not asked again in this run. What is left is owed by the ledger to the next run.

A sender that fails by a bug of its own fails on one scene: the others are sent. After `BUGS` scenes in a row the peer
is left to the next run, which begins with the scenes that were not tried.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue

from hdm_pipeline.contracts import SendAnswer
from hdm_pipeline.delivery.parcel import Parcel, Progress
from hdm_pipeline.errors import HdmError
from hdm_pipeline.output.deliveries import Deliveries, Delivery
from hdm_pipeline.output.layout import Workspace
from hdm_pipeline.output.manifest import bring
from hdm_pipeline.planning.routes import Route
from hdm_pipeline.reporting.events import Event, ProductsNotSent, ProductsSent

ATTEMPTS = 4
"""How often a file is tried before it is left to the next run."""

FIRST_PAUSE = 1.0
"""Seconds before the second attempt; each further pause is twice as long."""

RECHECK = 60.0
"""Seconds after which a peer that could not be reached is tried again."""

BUGS = 3
"""Scenes in a row on which a sender may fail by a bug of its own."""


@dataclass
class Tally:
    """What became of a peer's parcels in this run; read by the main thread once the peer's thread has ended.

    Attributes:
        sent: scenes that the peer holds completely now.
        files: files that were sent by this run.
        not_sent: `what` and `remedy` by scene.
        waiting: scenes not tried, because the run was to stop.
        refused: those of `not_sent` for which trying again would not help.
    """

    sent: int = 0
    files: int = 0
    not_sent: dict[str, dict[str, str]] = field(default_factory=dict)
    waiting: int = 0
    refused: set[str] = field(default_factory=set)


class Postman:
    """Sends the parcels of one peer in a thread of its own.

    Args:
        route: to the peer.
        workspace: where products and the ledger lie.
        tell: takes events; called from the thread.
    """

    def __init__(self, route: Route, workspace: Workspace, tell: Callable[[Event], None]) -> None:
        self.route = route
        self.tally = Tally()
        self._workspace = workspace
        self._tell = tell
        self._queue: SimpleQueue[Parcel | None] = SimpleQueue()
        self._stop = threading.Event()
        self._aside: list[Parcel] = []
        self._down: SendAnswer | None = None
        self._next_try = 0.0
        self._bugs = 0

    def offer(self, parcel: Parcel) -> None:
        """Queue a parcel."""
        self._queue.put(parcel)

    def close(self) -> None:
        """Nothing more comes: send what is queued, and end."""
        self._queue.put(None)

    def stop(self) -> None:
        """End after the files that are on their way."""
        self._stop.set()
        self._queue.put(None)

    def run(self) -> None:
        """Send until `close` or `stop` was called; the body of the thread."""
        with Deliveries(self._workspace.ledger) as deliveries:
            self._work(deliveries)

    def _work(self, deliveries: Deliveries) -> None:
        while (parcel := self._queue.get()) is not None:
            tries = not self._stop.is_set() and (self._down is None or self._may_retry())
            if not (tries and self._deliver(parcel, ATTEMPTS, deliveries)):
                self._aside.append(parcel)
            elif self._aside:  # it is there again
                self._catch_up(deliveries)
        if not self._stop.is_set() and (self._down is None or self._down.again):
            self._catch_up(deliveries)
        self._give_up_rest(deliveries)

    def _may_retry(self) -> bool:
        return self._down is not None and self._down.again and time.monotonic() >= self._next_try

    def _catch_up(self, deliveries: Deliveries) -> None:
        """Send what was put aside, until the peer fails again."""
        while self._aside and not self._stop.is_set() and self._bugs < BUGS:
            if not self._deliver(self._aside[0], 1, deliveries):
                return
            del self._aside[0]

    def _deliver(self, parcel: Parcel, attempts: int, deliveries: Deliveries) -> bool:
        """Send a parcel; False where the peer takes nothing now, so that it is to be tried again later."""
        progress = self._begin(parcel, deliveries)
        pause = FIRST_PAUSE
        for attempt in range(attempts):
            if attempt and self._stop.wait(pause * 2 ** (attempt - 1)):
                break
            if not (names := progress.to_send()):
                break
            self._send(progress, names)
            self._remember(progress.ended(), deliveries)
        self._down = progress.unavailable
        if self._down is not None:
            self._next_try = time.monotonic() + RECHECK
            return False
        self._remember(progress.ended(), deliveries)
        self._conclude(parcel, progress)
        self._bugs = self._bugs + 1 if progress.broken else 0
        if self._bugs >= BUGS:
            answer = next(iter(progress.failed.values()))
            self._down = SendAnswer("unavailable", answer.what, answer.remedy)
        return True

    def _begin(self, parcel: Parcel, deliveries: Deliveries) -> Progress:
        try:
            bring(self._workspace, [name for _, name in parcel.files])
            known = deliveries.find(self.route.to, parcel.scene)
            return Progress.begin(parcel, self.route, self._workspace.root, known)
        except HdmError as error:
            broken = Progress(Delivery(self.route.to, parcel.scene, parcel.product_key, parcel.products))
            broken.left = {name: (product, "") for product, name in parcel.files}
            broken.failing(list(broken.left), error)
            return broken

    def _send(self, progress: Progress, names: list[str]) -> None:
        paths: list[Path] = [self._workspace.root / name for name in names]
        try:
            progress.answered(names, self.route.sender.send(paths))
        except HdmError as error:
            progress.failing(names, error)

    def _remember(self, delivery: Delivery, deliveries: Deliveries) -> None:
        if delivery != deliveries.find(delivery.peer, delivery.scene):
            deliveries.record([delivery])

    def _conclude(self, parcel: Parcel, progress: Progress) -> None:
        delivery = progress.ended()
        self.tally.files += len(delivery.receipts) - progress.already
        products = tuple(sorted({receipt.product for receipt in delivery.receipts.values()}))
        if not delivery.complete:
            lacking = tuple(sorted({product for product, _ in progress.left.values()}))
            self._missing(parcel.scene, lacking, delivery.error)
            if not progress.to_send():
                self.tally.refused.add(parcel.scene)
        elif products:
            self.tally.sent += 1
            answers = "; ".join(sorted({receipt.answer for receipt in delivery.receipts.values()}))
            self._tell(ProductsSent(scene=parcel.scene, to=self.route.to, products=products, what=answers))

    def _missing(self, scene: str, products: tuple[str, ...], error: Mapping[str, str] | None) -> None:
        told = dict(error or {"what": "the peer gave no answer", "remedy": ""})
        self.tally.not_sent[scene] = told
        self._tell(ProductsNotSent(scene=scene, to=self.route.to, products=products, **told))

    def _give_up_rest(self, deliveries: Deliveries) -> None:
        """Say of what was put aside, or not reached, why the peer lacks it."""
        while not self._queue.empty():
            if (parcel := self._queue.get()) is not None:
                self._aside.append(parcel)
        if self._down is None:
            self.tally.waiting = len(self._aside)
            return
        error = {"what": self._down.what, "remedy": self._down.remedy}
        rows = []
        for parcel in self._aside:
            known = deliveries.find(self.route.to, parcel.scene)
            receipts = {} if known is None else known.receipts
            reason = None if self._bugs >= BUGS else error  # not tried: the next run begins with it
            rows.append(
                Delivery(self.route.to, parcel.scene, parcel.product_key, parcel.products, False, receipts, reason)
            )
            self._missing(parcel.scene, parcel.products, error)
        deliveries.record(rows)
