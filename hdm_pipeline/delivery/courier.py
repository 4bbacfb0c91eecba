"""Sends what a run publishes, and what earlier runs owe, while the run goes on."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Self

from hdm_pipeline.delivery.parcel import is_settled, parcel_of
from hdm_pipeline.delivery.postman import Postman
from hdm_pipeline.options import SendSummary
from hdm_pipeline.output.deliveries import Deliveries, Delivery
from hdm_pipeline.output.layout import Workspace
from hdm_pipeline.output.ledger import Ledger, SceneRecord
from hdm_pipeline.planning.routes import Route
from hdm_pipeline.reporting.events import Event, Listener, SceneDone

_POLL = 0.2
"""Seconds between two looks at whether the run is to stop."""


class Courier:
    """Hands scenes that are done to one thread a peer; a context manager. Its methods are for the run's thread.

    Args:
        routes: to the peers; without any, nothing is started.
        workspace: where products and the ledger lie.
        ledger: what is known of scenes; it is read only.
    """

    def __init__(self, routes: Sequence[Route], workspace: Workspace, ledger: Ledger) -> None:
        self._ledger = ledger
        self._news: SimpleQueue[Event] = SimpleQueue()
        self._known: dict[str, dict[str, Delivery]] = {}
        self._offered = 0
        if routes:
            with Deliveries(workspace.ledger) as deliveries:
                self._known = {route.to: deliveries.of(route.to) for route in routes}
        self._postmen = [Postman(route, workspace, dict(self._known[route.to]), self._news.put) for route in routes]
        self._pool: ThreadPoolExecutor | None = None
        self._ended: list[Future[None]] = []

    def __enter__(self) -> Self:
        if self._postmen:
            self._pool = ThreadPoolExecutor(len(self._postmen), thread_name_prefix="hdm-send")
            self._ended = [self._pool.submit(postman.run) for postman in self._postmen]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for postman in self._postmen:
            postman.stop()
        if self._pool is not None:
            # Whatever happened: who sends after the run's lock is given back meets the threads of the next run.
            self._pool.shutdown(wait=True)

    def catch_up(self, done: Iterable[str], vanished: Iterable[str]) -> int:
        """Offer what peers lack of scenes that earlier runs finished; returns how many deliveries that are.

        Args:
            done: ids of scenes whose products are as the pipeline asks.
            vanished: ids of scenes that are no longer in the archive. Of these a peer gets what it was to get when
                they were published.
        """
        if not self._postmen:
            return 0
        done, vanished, before = set(done), set(vanished), self._offered
        # What failed before comes last: it keeps nothing back that was never tried.
        failed: list[str] = []
        for record in self._ledger.walk():
            if self._failed_before(record.id):
                failed.append(record.id)
            else:
                self._catch_up_with(record, done, vanished)
        for record in filter(None, map(self._ledger.scene, failed)):
            self._catch_up_with(record, done, vanished)
        return self._offered - before

    def _catch_up_with(self, record: SceneRecord, done: Container[str], vanished: Container[str]) -> None:
        if record.id in done:
            self._offer(record)
        elif record.id in vanished:
            self._offer(record, only=record.info.get("send", ()))

    def event(self, event: Event) -> None:
        """Take note of a scene that was published."""
        if isinstance(event, SceneDone) and self._postmen:
            record = self._ledger.scene(event.scene)
            if record is not None:
                self._offer(record)

    def _failed_before(self, scene: str) -> bool:
        known = [of_peer.get(scene) for of_peer in self._known.values()]
        return any(one is not None and one.error is not None for one in known)

    def _offer(self, record: SceneRecord, only: Iterable[str] | None = None) -> None:
        for postman in self._postmen:
            to = postman.route.to
            parcel = parcel_of(record, postman.route) if only is None or to in only else None
            if parcel is not None and not is_settled(parcel, self._known[to].get(record.id)):
                postman.offer(parcel)
                self._offered += 1

    def tell_news(self, tell: Listener) -> None:
        """Tell what the threads have to say, in this thread."""
        while True:
            try:
                event = self._news.get_nowait()
            except Empty:
                return
            tell(event)

    def finish(self, should_stop: Callable[[], bool], tell: Listener) -> list[SendSummary]:
        """Wait until all is sent that can be, or `should_stop` says so.

        Returns:
            What became of it, by peer in the order of the pipeline file.
        """
        for postman in self._postmen:
            postman.close()
        while True:
            if should_stop():
                for postman in self._postmen:
                    postman.stop()
            if not wait(self._ended, timeout=_POLL).not_done:
                break
            self.tell_news(tell)
        for ended in self._ended:
            ended.result()
        self.tell_news(tell)
        return self.summaries()

    def abandon(self) -> list[SendSummary]:
        """Something else failed: end after the files that are on their way. Their news is still to be told.

        Returns:
            As `finish`.
        """
        for postman in self._postmen:
            postman.stop()
        wait(self._ended)
        return self.summaries()

    def summaries(self) -> list[SendSummary]:
        """What became of it, by peer in the order of the pipeline file; nothing yet, before anything is sent."""
        return [_summary(postman) for postman in self._postmen]


def _summary(postman: Postman) -> SendSummary:
    tally, route = postman.tally, postman.route
    return SendSummary(
        route.to, route.products, tally.sent, tally.files, tally.not_sent, tally.waiting, frozenset(tally.refused)
    )
